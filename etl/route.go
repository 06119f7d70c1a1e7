package etl

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// Route tells whose event a message is, where one source carries several datasets: by a member of the event or by a
// message attribute, of which the value is the dataset's name. The zero Route does not tell.
type Route struct {
	Member    string // a member at the top of the event
	Attribute string // a message attribute of SQS
}

// ParseRoute reads member:NAME or attribute:NAME.
func ParseRoute(text string) (Route, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch {
	case name == "":
	case kind == "member":
		return Route{Member: name}, nil
	case kind == "attribute":
		return Route{Attribute: name}, nil
	}
	return Route{}, fmt.Errorf("reading the route %q: want member:NAME or attribute:NAME", text)
}

// router reads the member of a route. It reuses its buffers and is not for concurrent use.
type router struct {
	Route
	json *jsontext.Decoder
	in   bytes.Buffer
	text []byte
}

func newRouter(r Route) *router {
	out := &router{Route: r}
	out.json = jsontext.NewDecoder(&out.in)
	return out
}

// dataset finds whose event a message is. A body that is no JSON object is the default dataset's, whose decoder says
// what is wrong with it. nil: the route names no dataset.
func (r *router) dataset(s *writerState, standard *datasetState, m *Message) *datasetState {
	name := m.Attribute
	if r.Member != "" {
		var readable bool
		if name, readable = r.member(m.text()); !readable {
			return standard
		}
	}
	if name == "" {
		return nil
	}
	return s.find(name)
}

// member reads the value of the route's member, which is valid until the next call. It reads no further than that: a
// second member of the name is for the dataset's decoder to refuse.
func (r *router) member(body []byte) (value string, readable bool) {
	r.in = *bytes.NewBuffer(body)
	r.json.Reset(&r.in)
	if r.json.PeekKind() != jsontext.KindBeginObject {
		return "", false
	}
	if _, err := r.json.ReadToken(); err != nil {
		return "", false
	}
	for r.json.PeekKind() != jsontext.KindEndObject {
		found, err := r.isMember()
		switch {
		case err != nil:
			return "", false
		case found && r.json.PeekKind() == jsontext.KindString:
			quoted, err := r.json.ReadValue()
			if err != nil {
				return "", false
			}
			clear(r.text)
			if r.text, err = jsontext.AppendUnquote(r.text[:0], quoted); err != nil {
				return "", false
			}
			return unsafe.String(unsafe.SliceData(r.text), len(r.text)), true
		case found:
			return "", true
		}
		if err := r.json.SkipValue(); err != nil {
			return "", false
		}
	}
	if _, err := r.json.ReadToken(); err != nil {
		return "", false
	}
	// What follows the object makes it no event: that is for the decoder to say.
	_, err := r.json.ReadToken()
	return "", err == io.EOF
}

// isMember reads a name and reports whether it is the route's.
func (r *router) isMember() (bool, error) {
	quoted, err := r.json.ReadValue()
	if err != nil || len(quoted) < 2 {
		return false, err
	}
	if name := quoted[1 : len(quoted)-1]; bytes.IndexByte(name, '\\') < 0 {
		return string(name) == r.Member, nil
	}
	unquoted, err := jsontext.AppendUnquote(nil, quoted)
	return string(unquoted) == r.Member, err
}
