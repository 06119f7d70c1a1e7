package etl

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// Reason is why an event could not be stored. The codes are stable: docs/rejections.md lists them,
// and a replay after a fix selects by them.
type Reason string

// The reason codes.
const (
	NotJSON         Reason = "not_json"         // not one JSON text (RFC 8259), or empty
	NotObject       Reason = "not_object"       // JSON, but no object
	DuplicateMember Reason = "duplicate_member" // a member name twice in one object: readers differ on which one counts
	InvalidUTF8     Reason = "invalid_utf8"     // not UTF-8, or an escaped lone surrogate
	NUL             Reason = "nul"              // a value holds U+0000, which Postgres cannot store as text
	TooDeep         Reason = "too_deep"         // nested deeper than 10,000
	MissingField    Reason = "missing_field"    // a required member is absent or empty
	NullField       Reason = "null_field"       // a required member is null
	WrongType       Reason = "wrong_type"       // a member's JSON type is not the dataset's
	TooLong         Reason = "too_long"         // a value has more characters than the dataset allows
	BadIP           Reason = "bad_ip"           // not an IP address
	BadVersion      Reason = "bad_version"      // not MAJOR[.MINOR[.PATCH]] within limits
	BadDate         Reason = "bad_date"         // sent on a day outside the policy's window
	DBData          Reason = "db_data"          // the database refused the row (pg.IsDataError)
)

// Reasons are all reason codes.
func Reasons() []Reason {
	return []Reason{
		NotJSON, NotObject, DuplicateMember, InvalidUTF8, NUL, TooDeep, MissingField, NullField, WrongType, TooLong,
		BadIP, BadVersion, BadDate, DBData,
	}
}

// value is one member of a decoded event.
type value struct {
	kind    jsontext.Kind // 0: absent
	text    []byte        // of a string, unescaped; of a number, its literal
	version int32         // of a version
}

func (v *value) isNull() bool { return v.kind == 0 || v.kind == jsontext.KindNull }

// event is a decoded event: a value for each member of the dataset, in its order. It is valid until
// the next decode.
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

// decode reads one event. If it returns a reason, the event holds what could be read before.
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

// subjectOf is the subject of an event that may be a rejection: nil unless it could be stored.
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
	// Later appends may move the buffer: this slice then keeps the old one, which holds the same
	// bytes.
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

// classify says why a body could not be read as JSON. It runs on bad bodies only, so it may read
// them again.
func classify(body []byte, err error) Reason {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return DuplicateMember
	case !utf8.Valid(body):
		return InvalidUTF8
	}
	// The library does not export its errors for a lone surrogate and for depth. Read again,
	// leniently and token by token, to find out.
	lenient := jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
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

// parseVersion reads MAJOR[.MINOR[.PATCH]] as major*1_000_000 + minor*1_000 + patch, so that
// integers order as versions do: 2.10 is 2010000 and 2.1 is 2001000. A missing part is 0. Limits:
// major 2146, minor and patch 999.
func parseVersion(text []byte) (int32, bool) {
	var parts [3]int32
	part, digits := 0, 0
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9' && digits < 4:
			parts[part] = parts[part]*10 + int32(c-'0')
			digits++
		case c == '.' && digits > 0 && part < 2:
			part, digits = part+1, 0
		default:
			return 0, false
		}
	}
	if digits == 0 || parts[0] > 2146 || parts[1] > 999 || parts[2] > 999 {
		return 0, false
	}
	return parts[0]*1_000_000 + parts[1]*1_000 + parts[2], true
}
