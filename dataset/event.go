package dataset

import (
	"bytes"
	"crypto/fips140"
	"crypto/sha1"
	"hash"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Value is one member of an event that was read.
type Value struct {
	Kind jsontext.Kind // the JSON type; 0 if the member is absent
	// Null says that the column is NULL: the member is absent or null, or it is optional and cannot be read. A version
	// that cannot be read keeps its text: then only HasVersion is false.
	Null bool
	// Text is what is sealed: a string decoded, another value as its JSON text.
	Text []byte
	// Canonical is what a clear column gets: a text that Postgres reads as the column's type. A protected address
	// has its text here.
	Canonical []byte
	// Nothing says that the definition lists the value as one that means "none".
	Nothing    bool
	Version    int32 // of a version, if HasVersion
	HasVersion bool
}

// Drop is an optional member that is NULL because it cannot be read.
type Drop struct {
	Member int // its position
	Reason Reason
}

// Event is an event that was read. It is valid until the decoder's next Decode.
type Event struct {
	Values  []Value // one for each member, in the order of the definition
	Dropped []Drop
	// Subject is the subject in canonical form: what is bound into associated data. Of a rejection, it is there if it
	// could be read. Empty: nobody's.
	Subject []byte
	// Row is UUIDv5 of the member that is the dataset's id. Zero: the dataset has none.
	Row uuid.UUID
	// Time is the dataset's time. Zero: the dataset has none.
	Time time.Time
}

// Decoder reads events of one dataset. In the steady state it takes no memory. It is not for concurrent use.
type Decoder struct {
	dataset           *Dataset
	fields            []field
	root              *node
	subject, id, time int
	space             uuid.UUID
	sha1              hash.Hash
	sum               []byte
	event             Event
	json              *jsontext.Decoder
	in                bytes.Buffer
	text              []byte // backs the event's values
	nul               bool   // it holds U+0000
}

// node is a place in the event: a member, or an object with members in it.
type node struct {
	name     string
	member   int // or -1
	children map[string]*node
	// first and after are guesses, taken from the last event: which child came first, and which sibling next. Events of
	// one sender have their members in one order, so that a comparison finds most names, and no hash is needed.
	first, after *node
}

// rowSpace is the name space of row ids. It never changes: a row's id is bound into its sealed values.
var rowSpace = uuid.MustParse("3d2c7a52-6f0b-5d1e-9c53-0f4b8a6e2d17")

// NewDecoder prepares to read events of a dataset.
func NewDecoder(d *Dataset) *Decoder {
	dec := &Decoder{
		dataset: d, root: &node{member: -1}, subject: d.index(d.Subject), id: d.index(d.ID), time: d.index(d.Time),
	}
	for i := range d.Members {
		m := &d.Members[i]
		dec.fields = append(dec.fields, newField(m))
		at := dec.root
		for _, name := range m.Path {
			if at.children == nil {
				at.children = map[string]*node{}
			}
			if at.children[name] == nil {
				at.children[name] = &node{name: name, member: -1}
			}
			at = at.children[name]
		}
		at.member = i
	}
	dec.event.Values = make([]Value, len(d.Members))
	dec.json = jsontext.NewDecoder(&dec.in)
	if dec.id >= 0 {
		// SHA-1 makes an id here and keeps nothing secret: RFC 9562 prescribes it, FIPS 140 does not approve of it.
		fips140.WithoutEnforcement(func() {
			dec.space = uuid.NewSHA1(rowSpace, []byte(d.Name))
			dec.sha1 = sha1.New()
		})
	}
	return dec
}

// Decode reads one event strictly. If it returns a rejection, the event holds the subject where that could be read.
// body is not kept and not changed.
//
// An event has one reason, the first that applies: first the text as a whole, then the members in the definition's
// order, whatever their order in the event.
func (d *Decoder) Decode(body []byte) (*Event, Rejection) {
	e := &d.event
	clear(e.Values)
	clear(d.text)
	d.text = d.text[:0]
	*e = Event{Values: e.Values, Dropped: e.Dropped[:0]}
	reason := d.readBody(body)
	d.nul = bytes.IndexByte(d.text, 0) >= 0
	rejection := Rejection{Reason: reason}
	for i := range d.fields {
		f, v := &d.fields[i], &e.Values[i]
		why := d.readMember(f, v)
		switch {
		case i == d.subject && why == "" && !v.Null:
			e.Subject = v.Canonical
		case why == "" || rejection.Reason != "":
		case f.Required:
			rejection = Rejection{Reason: why, Member: f.Name}
		default:
			e.Dropped = append(e.Dropped, Drop{Member: i, Reason: why})
		}
	}
	if rejection.Reason != "" {
		e.Dropped = e.Dropped[:0]
		return e, rejection
	}
	if d.time >= 0 {
		e.Time, _ = parseTimestamp(e.Values[d.time].Text)
	}
	if d.id >= 0 {
		e.Row = d.rowID(e.Values[d.id].Canonical)
	}
	return e, Rejection{}
}

// readMember checks one value. Where it returns a reason the value is NULL, but for the text of a version.
func (d *Decoder) readMember(f *field, v *Value) (reason Reason) {
	switch {
	case v.Kind == 0:
		reason = MissingField
	case v.Kind == jsontext.KindNull:
		reason = NullField
	case v.Kind == kindWrong:
		v.Null = true
		return WrongType
	default:
		d.text, reason = f.check(v, d.text, d.nul)
		v.Null = reason != "" && reason != BadVersion
		if v.Null {
			v.Text, v.Canonical = nil, nil
		}
		return reason
	}
	v.Null, v.Text = true, nil
	if f.Required {
		return reason
	}
	return ""
}

// kindWrong marks a member that stands within something that is no object. It is no kind of jsontext.
const kindWrong jsontext.Kind = '!'

// rowID is UUIDv5 of an id: SHA-1 of the dataset's name space and the id (RFC 9562, section 5.5).
func (d *Decoder) rowID(id []byte) uuid.UUID {
	if fips140.Enforced() {
		d.rowIDUnenforced(id)
	} else {
		d.hashID(id)
	}
	row := uuid.UUID(d.sum[:16])
	row[6] = row[6]&0x0f | 0x50
	row[8] = row[8]&0x3f | 0x80
	return row
}

// rowIDUnenforced is apart, because its closure takes memory.
func (d *Decoder) rowIDUnenforced(id []byte) { fips140.WithoutEnforcement(func() { d.hashID(id) }) }

func (d *Decoder) hashID(id []byte) {
	d.sha1.Reset()
	d.sha1.Write(d.space[:])
	d.sha1.Write(id)
	d.sum = d.sha1.Sum(d.sum[:0])
}

// readBody reads the text as a whole, and takes the members' values out of it.
func (d *Decoder) readBody(body []byte) Reason {
	// The values are copied out of the buffer, which belongs to the message.
	d.in = *bytes.NewBuffer(body)
	d.json.Reset(&d.in)
	notObject := d.json.PeekKind() != jsontext.KindBeginObject
	if notObject {
		if err := d.json.SkipValue(); err != nil {
			return classify(body, err)
		}
	} else if err := d.readObject(d.root); err != nil {
		return classify(body, err)
	}
	if _, err := d.json.ReadToken(); !isEnd(err) {
		return classify(body, err)
	}
	if notObject {
		return NotObject
	}
	return ""
}

// readObject reads an object that holds members. It goes no deeper than the definition does.
func (d *Decoder) readObject(at *node) error {
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	guess := &at.first
	for d.json.PeekKind() != jsontext.KindEndObject {
		name, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		next := *guess
		if next == nil || !next.named(name) {
			if next, err = at.child(name); err != nil {
				return err
			}
		}
		if next != nil {
			*guess = next
			guess = &next.after
		}
		switch kind := d.json.PeekKind(); {
		case next == nil:
			err = d.json.SkipValue()
		case next.member >= 0:
			err = d.readValue(&d.event.Values[next.member], kind, d.fields[next.member].whole)
		case kind == jsontext.KindBeginObject:
			err = d.readObject(next)
		default:
			if kind != jsontext.KindNull {
				kind = kindWrong
			}
			d.mark(next, kind)
			err = d.json.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken()
	return err
}

// mark says of all members below a place what stands in the way: a null, or a value that is no object.
func (d *Decoder) mark(at *node, kind jsontext.Kind) {
	if at.member >= 0 {
		d.event.Values[at.member].Kind = kind
	}
	for _, next := range at.children {
		d.mark(next, kind)
	}
}

// named reports whether a JSON name, quoted, is the node's as it stands there. An escaped one is not: child reads that.
func (n *node) named(quoted jsontext.Value) bool {
	return len(quoted) >= 2 && string(quoted[1:len(quoted)-1]) == n.name && strings.IndexByte(n.name, '\\') < 0
}

// child finds the place that a JSON name, quoted and maybe escaped, stands for; nil: none.
func (n *node) child(quoted jsontext.Value) (*node, error) {
	if len(quoted) < 2 {
		return nil, nil
	}
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') < 0 {
		return n.children[string(name)], nil
	}
	unescaped, err := jsontext.AppendUnquote(nil, quoted)
	return n.children[string(unescaped)], err
}

// readValue copies a value: a string decoded, all else, and the value of a json, as its JSON text. An array or object
// where the type allows none is not kept.
func (d *Decoder) readValue(v *Value, kind jsontext.Kind, whole bool) error {
	v.Kind = kind
	if !whole && (kind == jsontext.KindBeginArray || kind == jsontext.KindBeginObject) {
		return d.json.SkipValue()
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	begin := len(d.text)
	if kind == jsontext.KindString && !whole {
		d.text, err = jsontext.AppendUnquote(d.text, raw)
	} else {
		d.text = append(d.text, raw...)
	}
	// Later appends may move the buffer: this slice then keeps the old one, which holds the same bytes.
	v.Text = d.text[begin:len(d.text):len(d.text)]
	return err
}
