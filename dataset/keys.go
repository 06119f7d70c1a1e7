package dataset

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// key is one key of a mapping in the YAML. The three tables below are the whole language: the reader, the hints and the
// JSON Schema come from them.
type key[T any] struct {
	name   string
	doc    string
	schema string // what it may be, as a fragment of JSON Schema
	needed bool
	types  []Type // of members that may have it; nil: all
	read   func(r *reader, at string, node *yaml.Node, out *T)
}

func schemaName(most int) string {
	return fmt.Sprintf(`{"type": "string", "pattern": "^[a-z](_?[a-z0-9])*$", "maxLength": %d}`, most)
}

var datasetKeys = []key[Dataset]{
	{name: "dataset", needed: true, schema: schemaName(maxTable),
		doc: "The name. It enters the associated data of each sealed value and the derivation of each key: it " +
			"never changes.",
		read: text(func(d *Dataset) *string { return &d.Name })},
	{name: "table", needed: true, schema: schemaName(maxTable),
		doc:  "The table in schema cloakroom_data, and the view in schema public.",
		read: text(func(d *Dataset) *string { return &d.Table })},
	{name: "subject", schema: schemaName(maxMember),
		doc:  "The clear member that says whose the row is. Without one, nobody can be forgotten.",
		read: text(func(d *Dataset) *string { return &d.Subject })},
	{name: "id", schema: schemaName(maxMember),
		doc: "The clear, required member that makes two events the same one. It needs time. Without one, the " +
			"delivery's id does.",
		read: text(func(d *Dataset) *string { return &d.ID })},
	{name: "time", schema: schemaName(maxMember),
		doc: "The clear, required member of type timestamp that says when the event was. Without one, the " +
			"delivery's time does.",
		read: text(func(d *Dataset) *string { return &d.Time })},
	{name: "partition", schema: `{"enum": ["month", "day"], "default": "month"}`,
		doc:  "How long a partition of the table is.",
		read: text(func(d *Dataset) *string { return (*string)(&d.Partition) })},
	{name: "members", needed: true,
		schema: `{"type": "array", "minItems": 1, "maxItems": 200, "items": {"$ref": "#/$defs/member"}}`,
		doc:    "The members that are read from an event. Others are ignored.",
		read: func(r *reader, at string, node *yaml.Node, d *Dataset) {
			for i, item := range r.sequence(at, node) {
				d.Members = append(d.Members, readMapping(r, element(at, i), item, memberKeys))
			}
		}},
}

var memberKeys = []key[Member]{
	{name: "name", needed: true, schema: schemaName(maxMember),
		doc:  "The name of the member's column, and of its field in sealed values.",
		read: text(func(m *Member) *string { return &m.Name })},
	{name: "from", schema: `{"type": "string", "minLength": 1}`,
		doc: "Where the member stands in the event: customer.email, or a JSON Pointer (/customer/e.mail). The " +
			"default is its name.",
		read: func(r *reader, at string, node *yaml.Node, m *Member) {
			if from, ok := r.text(at, node); ok {
				path, err := parsePath(from)
				if err != nil {
					r.wrong(at, "from", "write names with dots between them, or a JSON Pointer that begins with /",
						"%q is no path: %v", from, err)
				}
				m.Path = path
			}
		}},
	{name: "type", needed: true,
		schema: `{"enum": ["text", "integer", "decimal", "boolean", "date", "timestamp", "uuid", "ip", "json", "version"]}`,
		doc:    "How the JSON value is read, and the SQL type it is stored in.",
		read:   text(func(m *Member) *string { return (*string)(&m.Type) })},
	{name: "max", schema: `{"type": ["integer", "string", "number"]}`, types: []Type{Text, Version, JSON, IP, Integer,
		Decimal, Date, Timestamp},
		doc: "The most characters of a text, version, json or ip; the greatest value of an integer, decimal, date " +
			"or timestamp.",
		read: func(r *reader, at string, node *yaml.Node, m *Member) {
			r.bound(at, node, m.Type, &m.Max, &m.Most)
		}},
	{name: "min", schema: `{"type": ["integer", "string", "number"]}`, types: []Type{Text, Integer, Decimal, Date,
		Timestamp},
		doc: "The fewest characters of a text; the least value of an integer, decimal, date or timestamp.",
		read: func(r *reader, at string, node *yaml.Node, m *Member) {
			r.bound(at, node, m.Type, &m.Min, &m.Least)
		}},
	{name: "required", schema: `{"type": "boolean", "default": false}`,
		doc: "An event in which it is absent, null, empty or unreadable is a rejection. Otherwise the column is NULL.",
		read: func(r *reader, at string, node *yaml.Node, m *Member) {
			m.Required = r.boolean(at, node)
		}},
	{name: "precision", schema: `{"type": "integer", "minimum": 1, "maximum": 1000}`, types: []Type{Decimal},
		doc:  "The most digits in all.",
		read: number(func(m *Member) *int { return &m.Precision })},
	{name: "scale", schema: `{"type": "integer", "minimum": 0, "maximum": 1000, "default": 0}`, types: []Type{Decimal},
		doc:  "The most digits after the point.",
		read: number(func(m *Member) *int { return &m.Scale })},
	{name: "enum", schema: `{"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}}`,
		types: []Type{Text, Integer},
		doc:   "The values allowed.",
		read: func(r *reader, at string, node *yaml.Node, m *Member) {
			m.Enum = []string{}
			for i, item := range r.sequence(at, node) {
				if v, ok := r.scalar(element(at, i), item, m.Type); ok {
					m.Enum = append(m.Enum, v)
				}
			}
		}},
	{name: "pattern", schema: `{"type": "string", "format": "regex"}`, types: []Type{Text},
		doc:  "A regular expression (RE2) that the whole value matches.",
		read: text(func(m *Member) *string { return &m.Pattern })},
	{name: "protect", schema: `{"$ref": "#/$defs/protect"}`,
		types: []Type{Text, Integer, Decimal, Boolean, Date, Timestamp, UUID, IP, JSON},
		doc:   "The value is never stored in clear: it is sealed, and indexed as this says.",
		read: func(r *reader, at string, node *yaml.Node, m *Member) {
			p := readMapping(r, at, node, protectKeys)
			m.Protect = &p
		}},
}

var protectKeys = []key[Protection]{
	{name: "normalise",
		schema: `{"anyOf": [{"$ref": "#/$defs/step"}, {"type": "array", "minItems": 1, "maxItems": 4, "items": {"$ref": "#/$defs/step"}}]}`,
		doc: "The steps that make two spellings of one value equal, before it is indexed. The sealed value " +
			"stays as it came.",
		read: func(r *reader, at string, node *yaml.Node, p *Protection) {
			p.Normalise = r.texts(at, node, true)
		}},
	{name: "pad", schema: `{"type": "integer", "minimum": 16, "maximum": 4096, "default": 32}`,
		doc:  "Sealed lengths are multiples of it, in bytes.",
		read: number(func(p *Protection) *int { return &p.Pad })},
	{name: "index",
		schema: `{"type": "array", "items": {"type": "string", "pattern": "^(exact|domain|(prefix|last)/[1-9][0-9]?)$"}, "default": ["exact"]}`,
		doc: "The blind indexes, each a column of tokens: exact; prefix/24, a network or the first characters; " +
			"last/4; domain.",
		read: func(r *reader, at string, node *yaml.Node, p *Protection) {
			p.Indexes = r.texts(at, node, false)
		}},
	{name: "reveal", schema: `{"enum": ["domain", "last4", "network"]}`,
		doc:  "A coarse form that everybody who reads the view sees in clear.",
		read: text(func(p *Protection) *string { return &p.Reveal })},
	{name: "nothing", schema: `{"type": "array", "items": {"type": "string"}}`,
		doc: "Values that mean \"none\": they are sealed, their token is -, and they are no duplicates of each other.",
		read: func(r *reader, at string, node *yaml.Node, p *Protection) {
			p.Nothing = r.texts(at, node, false)
		}},
}

func text[T any](field func(*T) *string) func(*reader, string, *yaml.Node, *T) {
	return func(r *reader, at string, node *yaml.Node, out *T) {
		*field(out), _ = r.text(at, node)
	}
}

func number[T any](field func(*T) *int) func(*reader, string, *yaml.Node, *T) {
	return func(r *reader, at string, node *yaml.Node, out *T) {
		*field(out) = r.number(at, node)
	}
}
