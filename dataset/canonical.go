package dataset

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// Canonical is the definition as JSON in the form of RFC 8785, with every default written out: what the vault
// stores. Two definitions that mean the same have the same canonical form.
func (d *Dataset) Canonical() []byte {
	var b bytes.Buffer
	w := &writer{json: jsontext.NewEncoder(&b)}
	w.open()
	w.text("dataset", d.Name)
	w.text("table", d.Table)
	w.optional("subject", d.Subject)
	w.optional("id", d.ID)
	w.optional("time", d.Time)
	w.text("partition", string(d.Partition))
	w.token(jsontext.String("members"))
	w.token(jsontext.BeginArray)
	for i := range d.Members {
		w.member(&d.Members[i])
	}
	w.token(jsontext.EndArray)
	w.token(jsontext.EndObject)
	value := jsontext.Value(b.Bytes())
	if err := errors.Join(w.err, value.Canonicalize()); err != nil {
		// Parse lets only valid UTF-8 pass, and no key is written twice.
		panic(fmt.Sprintf("dataset: %s has no canonical form: %v", d.Name, err))
	}
	return value
}

// Hash is the SHA-256 of the canonical form.
func (d *Dataset) Hash() [sha256.Size]byte { return sha256.Sum256(d.Canonical()) }

type writer struct {
	json *jsontext.Encoder
	err  error
}

func (w *writer) token(t jsontext.Token) {
	if w.err == nil {
		w.err = w.json.WriteToken(t)
	}
}

func (w *writer) open() { w.token(jsontext.BeginObject) }

func (w *writer) text(name, value string) {
	w.token(jsontext.String(name))
	w.token(jsontext.String(value))
}

func (w *writer) optional(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *writer) number(name string, n int) {
	w.token(jsontext.String(name))
	w.token(jsontext.Int(int64(n)))
}

func (w *writer) texts(name string, list []string) {
	w.token(jsontext.String(name))
	w.token(jsontext.BeginArray)
	for _, s := range list {
		w.token(jsontext.String(s))
	}
	w.token(jsontext.EndArray)
}

func (w *writer) member(m *Member) {
	w.open()
	w.text("name", m.Name)
	w.text("from", m.From())
	w.text("type", string(m.Type))
	w.token(jsontext.String("required"))
	w.token(jsontext.Bool(m.Required))
	switch m.Type {
	case Text, Version, JSON, IP:
		w.number("max", m.Max)
		if m.Min > 0 {
			w.number("min", m.Min)
		}
	default:
		w.optional("max", m.Most)
		w.optional("min", m.Least)
	}
	if m.Type == Decimal {
		w.number("precision", m.Precision)
		w.number("scale", m.Scale)
	}
	if m.Enum != nil {
		w.texts("enum", m.Enum)
	}
	w.optional("pattern", m.Pattern)
	if p := m.Protect; p != nil {
		w.token(jsontext.String("protect"))
		w.open()
		if p.Normalise != nil {
			w.texts("normalise", p.Normalise)
		}
		w.number("pad", p.Pad)
		w.texts("index", p.Indexes)
		w.optional("reveal", p.Reveal)
		if len(p.Nothing) > 0 {
			w.texts("nothing", p.Nothing)
		}
		w.token(jsontext.EndObject)
	}
	w.token(jsontext.EndObject)
}

// ParseCanonical reads back what Canonical wrote, and nothing else: not the same JSON with a space in it.
func ParseCanonical(text []byte) (*Dataset, error) {
	if len(text) > maxDefinition {
		return nil, fmt.Errorf("parsing dataset: the definition has more than %d bytes", maxDefinition)
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	node, err := jsonNode(decoder)
	if err != nil {
		return nil, fmt.Errorf("parsing dataset: the definition is not one JSON text: %w", err)
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("parsing dataset: the definition is not one JSON text: %w", err)
	}
	d, problems := (&reader{report: report{places: places{"": {}}}}).dataset(node)
	if d == nil {
		return nil, problems.Errors()
	}
	if !bytes.Equal(d.Canonical(), text) {
		return nil, errors.New("parsing dataset: the definition is not in canonical form: it was changed after " +
			"keys dataset apply")
	}
	return d, nil
}

// jsonNode reads a JSON value as the YAML node it is, so that one reader serves both. JSON is not a subset of the
// YAML that our parser reads: it knows no surrogate pairs.
func jsonNode(decoder *jsontext.Decoder) (*yaml.Node, error) {
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	node := &yaml.Node{Kind: yaml.ScalarNode}
	var end jsontext.Kind
	switch token.Kind() {
	case jsontext.KindBeginObject:
		node.Kind, node.Tag, end = yaml.MappingNode, "!!map", jsontext.KindEndObject
	case jsontext.KindBeginArray:
		node.Kind, node.Tag, end = yaml.SequenceNode, "!!seq", jsontext.KindEndArray
	case jsontext.KindString:
		node.Tag, node.Value = "!!str", token.String()
		return node, nil
	case jsontext.KindNumber:
		node.Tag, node.Value = "!!int", token.String()
		return node, nil
	case jsontext.KindTrue, jsontext.KindFalse:
		node.Tag, node.Value = "!!bool", strconv.FormatBool(token.Bool())
		return node, nil
	default:
		node.Tag = "!!null"
		return node, nil
	}
	for decoder.PeekKind() != end {
		item, err := jsonNode(decoder)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, item)
	}
	_, err = decoder.ReadToken()
	return node, err
}
