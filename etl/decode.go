package etl

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// value is one member of a decoded event.
type value struct {
	kind    jsontext.Kind // 0: absent
	text    []byte        // of a string, unescaped; of a number, its literal
	version int32         // of a version
}

func (v *value) isNull() bool { return v.kind == 0 || v.kind == jsontext.KindNull }

// event is a decoded event: a value for each member of the dataset, in its order. It is valid until the next Decode.
type event struct {
	values []value
}

// decoder reads events of one dataset strictly. It reuses its buffers and is not for concurrent use.
type decoder struct {
	dataset *dataset.Dataset
	subject int
	event   event
	names   map[string]int
	json    *jsontext.Decoder
	in      bytes.Buffer
	text    []byte // backs the event's values
}

func newDecoder(d *dataset.Dataset) *decoder {
	dec := &decoder{dataset: d, subject: d.SubjectIndex(), names: map[string]int{}}
	for i := range d.Members {
		dec.names[d.Members[i].Name] = i
	}
	dec.event.values = make([]value, len(d.Members))
	dec.json = jsontext.NewDecoder(&dec.in)
	return dec
}

// decode reads one event. Where it returns a reason, the event holds what could be read before.
func (d *decoder) decode(body []byte) (*event, Reason) {
	clear(d.event.values)
	clear(d.text)
	d.text = d.text[:0]
	if reason := d.read(body); reason != "" {
		return &d.event, reason
	}
	for i := range d.dataset.Members {
		if reason := check(&d.dataset.Members[i], &d.event.values[i]); reason != "" {
			return &d.event, reason
		}
	}
	return &d.event, ""
}

// subjectOf is the subject of an event that may be a rejection: empty unless it could be stored.
func (d *decoder) subjectOf(e *event) []byte {
	v := &e.values[d.subject]
	if v.kind != jsontext.KindString || check(&d.dataset.Members[d.subject], v) != "" {
		return nil
	}
	return v.text
}

func (d *decoder) read(body []byte) Reason {
	// The values are copied out of the buffer, which belongs to the message.
	d.in = *bytes.NewBuffer(body)
	d.json.Reset(&d.in)
	if d.json.PeekKind() != jsontext.KindBeginObject {
		if err := d.json.SkipValue(); err != nil {
			return classify(body, err)
		}
		if _, err := d.json.ReadToken(); err != io.EOF {
			return classify(body, err)
		}
		return NotObject
	}
	if _, err := d.json.ReadToken(); err != nil {
		return classify(body, err)
	}
	for d.json.PeekKind() != jsontext.KindEndObject {
		name, err := d.json.ReadValue()
		if err != nil {
			return classify(body, err)
		}
		i, known := d.member(name)
		if !known {
			if err := d.json.SkipValue(); err != nil {
				return classify(body, err)
			}
			continue
		}
		if err := d.readValue(&d.event.values[i]); err != nil {
			return classify(body, err)
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return classify(body, err)
	}
	if _, err := d.json.ReadToken(); err != io.EOF {
		return classify(body, err)
	}
	return ""
}

// member finds the member that a JSON name, quoted and maybe escaped, stands for.
func (d *decoder) member(quoted jsontext.Value) (int, bool) {
	if len(quoted) < 2 {
		return 0, false
	}
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') < 0 {
		i, ok := d.names[string(name)]
		return i, ok
	}
	unescaped, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return 0, false
	}
	i, ok := d.names[string(unescaped)]
	return i, ok
}

func (d *decoder) readValue(v *value) error {
	v.kind = d.json.PeekKind()
	switch v.kind {
	case jsontext.KindString, jsontext.KindNumber:
	default:
		return d.json.SkipValue()
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	begin := len(d.text)
	if v.kind == jsontext.KindNumber {
		d.text = append(d.text, raw...)
	} else if d.text, err = jsontext.AppendUnquote(d.text, raw); err != nil {
		return err
	}
	// Later appends may move the buffer: this slice then keeps the old one, which holds the same bytes.
	v.text = d.text[begin:len(d.text):len(d.text)]
	return nil
}

// check holds one value to the dataset's description.
func check(m *dataset.Member, v *value) Reason {
	switch {
	case v.kind == 0 && m.Required:
		return MissingField
	case v.kind == jsontext.KindNull && m.Required:
		return NullField
	case v.isNull():
		return ""
	case v.kind != jsontext.KindString && !(v.kind == jsontext.KindNumber && m.Type == dataset.Version):
		return WrongType
	case bytes.IndexByte(v.text, 0) >= 0:
		return NUL
	case len(v.text) > m.Max && utf8.RuneCount(v.text) > m.Max:
		return TooLong
	case len(v.text) == 0 && m.Required:
		return MissingField
	case m.Type != dataset.Version:
		return ""
	}
	n, ok := parseVersion(v.text)
	if !ok {
		return BadVersion
	}
	v.version = n
	return ""
}

// classify says why a body could not be read as JSON. It runs on bad bodies only, so it may read them again.
func classify(body []byte, err error) Reason {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return DuplicateMember
	case !utf8.Valid(body):
		return InvalidUTF8
	}
	// The library does not export its errors for a lone surrogate and for depth: find out by reading again,
	// leniently and token by token.
	lenient := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	for {
		_, again := lenient.ReadToken()
		if again == io.EOF {
			if err == nil || errors.Is(err, io.EOF) {
				return NotJSON // a second value behind the first, or nothing at all
			}
			return InvalidUTF8
		}
		if again != nil {
			if lenient.StackDepth() >= maxDepth {
				return TooDeep
			}
			return NotJSON
		}
	}
}

// maxDepth is jsontext's own limit on nesting.
const maxDepth = 10_000
