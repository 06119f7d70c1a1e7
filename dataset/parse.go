package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxDefinition is the longest definition, in bytes.
const maxDefinition = 1 << 20

// Parse reads a dataset from YAML. Its error is [Problems]: every mistake, with its place.
func Parse(text []byte) (*Dataset, error) {
	d, problems := Lint(text)
	if d == nil {
		return nil, problems.Errors()
	}
	return d, nil
}

// Lint reads a dataset from YAML and lists every mistake and warning in the order of the text. The dataset is nil
// if there is a mistake.
func Lint(text []byte) (*Dataset, Problems) { return LintWith(text, nil) }

// Advice is a warning about a member that comes from elsewhere than the definition: from a sample of events.
type Advice struct {
	Member, Code, Message, Hint string
}

// LintWith is Lint with further warnings about a definition that has no mistake, each at its member's place. look may
// be nil.
func LintWith(text []byte, look func(*Dataset) []Advice) (*Dataset, Problems) {
	r := &reader{report: report{places: places{"": {line: 1, column: 1}}}}
	node, ok := r.document(text)
	if !ok {
		return nil, r.problems
	}
	d, problems := r.dataset(node)
	if d == nil || look == nil {
		return d, problems
	}
	for _, a := range look(d) {
		r.warn(element("members", d.index(a.Member))+".name", a.Code, a.Hint, "%s", a.Message)
	}
	r.problems.sort()
	return d, r.problems
}

// reader turns YAML nodes into a dataset, noting where each stood.
type reader struct {
	report
}

// dataset reads the definition and checks it.
func (r *reader) dataset(node *yaml.Node) (*Dataset, Problems) {
	d := readMapping(r, "", node, datasetKeys)
	d.fillDefaults()
	r.blamed = map[place]bool{}
	for _, p := range r.problems {
		r.blamed[place{line: p.Line, column: p.Column}] = true
	}
	r.check(&d)
	if len(r.problems) > 0 {
		r.problems.sort()
		return nil, r.problems
	}
	r.advise(&d)
	r.problems.sort()
	return &d, r.problems
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// document parses one YAML document.
func (r *reader) document(text []byte) (*yaml.Node, bool) {
	if len(text) > maxDefinition {
		r.wrong("", "too_large", "", "the definition has %d bytes, more than %d", len(text), maxDefinition)
		return nil, false
	}
	if !utf8.Valid(text) {
		r.wrong("", "yaml", "save the file as UTF-8", "the definition is not UTF-8")
		return nil, false
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		r.wrong("", "yaml", "begin with dataset: NAME", "the definition is empty")
		return nil, false
	}
	if err == nil {
		if err = decoder.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0], true
		}
		if err == nil {
			at := place{line: second.Line, column: second.Column}
			r.places["second"] = at
			r.wrong("second", "yaml", "write one dataset a file", "a second document follows")
			return nil, false
		}
	}
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if found := yamlLine.FindStringSubmatch(err.Error()); found != nil {
		line, _ = strconv.Atoi(found[1])
		message = strings.TrimPrefix(err.Error(), found[0])
	}
	r.places["syntax"] = place{line: line, column: 1}
	r.wrong("syntax", "yaml", "", "this is not YAML: %s", message)
	return nil, false
}

// at notes a node's place under its path.
func (r *reader) at(path string, node *yaml.Node) {
	if node.Line > 0 {
		r.places[path] = place{line: node.Line, column: node.Column}
	}
}

func child(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func element(at string, i int) string { return fmt.Sprintf("%s[%d]", at, i) }

// readMapping reads a mapping by the table of its keys.
func readMapping[T any](r *reader, at string, node *yaml.Node, keys []key[T]) (out T) {
	r.at(at, node)
	if node.Kind != yaml.MappingNode || r.unusable(at, node) {
		if node.Kind != yaml.MappingNode {
			r.wrong(at, "not_mapping", "write key: value lines", "%s is no mapping", orDefinition(at))
		}
		return out
	}
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		path := child(at, name.Value)
		switch {
		case seen[name.Value] != nil:
			r.places[path+"#"] = place{line: name.Line, column: name.Column}
			r.wrong(path+"#", "duplicate_key", "leave one of them", "%s is written twice", name.Value)
		case !known(keys, name.Value):
			r.at(path, name)
			r.wrong(path, "unknown_key", nearest(name.Value, keys), "there is no key %q", name.Value)
		default:
			seen[name.Value] = value
			r.at(path, name)
		}
	}
	// In the table's order, because how max is read depends on the type.
	for _, k := range keys {
		value, there := seen[k.name]
		if there && !r.unusable(child(at, k.name), value) {
			k.read(r, child(at, k.name), value, &out)
		}
		if !there && k.needed {
			r.wrong(at, "missing_key", "add "+k.name+": …", "%s has no %s", orDefinition(at), k.name)
		}
	}
	return out
}

func orDefinition(at string) string {
	if at == "" {
		return "the definition"
	}
	return at
}

func known[T any](keys []key[T], name string) bool {
	for _, k := range keys {
		if k.name == name {
			return true
		}
	}
	return false
}

// unusable refuses aliases, and anchors with them: nobody needs them here, and a few lines of them hold billions of
// nodes.
func (r *reader) unusable(at string, node *yaml.Node) bool {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		r.at(at, node)
		r.wrong(at, "alias", "write the value out", "anchors and aliases are not allowed")
		return true
	}
	return false
}

// sequence returns the items of a list.
func (r *reader) sequence(at string, node *yaml.Node) []*yaml.Node {
	r.at(at, node)
	if node.Kind != yaml.SequenceNode {
		r.wrong(at, "not_list", "write [a, b], or lines that begin with -", "%s is no list", at)
		return nil
	}
	var items []*yaml.Node
	for i, item := range node.Content {
		if !r.unusable(element(at, i), item) {
			r.at(element(at, i), item)
			items = append(items, item)
		}
	}
	return items
}

// texts reads a list of texts, or one text where that is allowed.
func (r *reader) texts(at string, node *yaml.Node, single bool) []string {
	out := []string{}
	if single && node.Kind == yaml.ScalarNode {
		if v, ok := r.text(at, node); ok {
			out = append(out, v)
		}
		return out
	}
	for i, item := range r.sequence(at, node) {
		if v, ok := r.text(element(at, i), item); ok {
			out = append(out, v)
		}
	}
	return out
}

func (r *reader) text(at string, node *yaml.Node) (string, bool) {
	r.at(at, node)
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str" {
		r.wrong(at, "not_text", "put it in quotes", "%s is no text", at)
		return "", false
	}
	return node.Value, true
}

// scalar reads a value that the type writes as a text or as a number.
func (r *reader) scalar(at string, node *yaml.Node, t Type) (string, bool) {
	if t != Integer && t != Decimal && t != Date && t != Timestamp {
		return r.text(at, node)
	}
	r.at(at, node)
	switch tag := node.ShortTag(); {
	case node.Kind != yaml.ScalarNode:
	case tag == "!!str", tag == "!!int", tag == "!!float", tag == "!!timestamp":
		return node.Value, true
	}
	r.wrong(at, "not_value", "", "%s is no value of type %s", at, t)
	return "", false
}

// number reads a whole number in decimal; 0x10, 1_000 and 010 are refused, because readers of YAML disagree about them.
func (r *reader) number(at string, node *yaml.Node) int {
	r.at(at, node)
	n, err := strconv.Atoi(node.Value)
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!int" || err != nil || strconv.Itoa(n) != node.Value {
		r.wrong(at, "not_integer", "write digits alone", "%s is no whole number", at)
		return 0
	}
	return n
}

func (r *reader) boolean(at string, node *yaml.Node) bool {
	r.at(at, node)
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!bool" || node.Value != "true" && node.Value != "false" {
		r.wrong(at, "not_boolean", "write true or false", "%s is neither true nor false", at)
	}
	return node.Value == "true"
}

// bound reads min or max, which is a length or a value, by the member's type.
func (r *reader) bound(at string, node *yaml.Node, t Type, length *int, value *string) {
	switch t {
	case Integer, Decimal, Date, Timestamp:
		written, ok := r.scalar(at, node, t)
		if !ok {
			return
		}
		if *value, ok = canonicalBound(t, written); !ok {
			r.wrong(at, "bound", formOf(t), "%q is no %s", written, t)
		}
	default:
		*length = r.number(at, node)
	}
}
