// Package dataset describes one kind of event: the members it has, the table it goes to, and which of its
// fields are protected and how. The description is a YAML file embedded in the binary; Go code elsewhere works
// on the description and names no field.
package dataset

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Type says how a member's JSON value is read and stored.
type Type string

const (
	// Text is a JSON string, stored as varchar.
	Text Type = "text"
	// Version is MAJOR[.MINOR[.PATCH]], a string or a number read by its literal text. It is stored as an
	// integer that orders as versions do, beside the text that was sent.
	Version Type = "version"
)

// Dataset is one kind of event. It is read-only after Parse.
type Dataset struct {
	// Name enters the associated data of every sealed value and the derivation of every subkey: changing it
	// makes what is stored unreadable.
	Name string `yaml:"dataset"`
	// Table is the table in schema cloakroom, and the view in schema public.
	Table string `yaml:"table"`
	// Subject names the clear member that says whose event it is; it is bound into the associated data.
	Subject string   `yaml:"subject"`
	Members []Member `yaml:"members"`
}

// Member is one member of the JSON event.
type Member struct {
	Name     string      `yaml:"name"`
	Type     Type        `yaml:"type"`
	Max      int         `yaml:"max"`      // in Unicode code points, of the value as sent
	Required bool        `yaml:"required"` // absent, null or empty is a rejection
	Protect  *Protection `yaml:"protect"`  // nil: stored in clear
}

// Protection says how a protected member is sealed and indexed.
type Protection struct {
	Normalise string `yaml:"normalise"` // transform of package blindindex
	Pad       int    `yaml:"pad"`       // sealed lengths are multiples of it, in bytes
}

// SealedColumn holds the member's sealed value.
func (m *Member) SealedColumn() string { return "sealed_" + m.Name }

// TokenColumn holds the member's token under one version of the index key.
func (m *Member) TokenColumn(version uint32) string {
	return fmt.Sprintf("masked_%s_v%d", m.Name, version)
}

// ViewColumn is the token's name in the analysts' view.
func (m *Member) ViewColumn() string { return "masked_" + m.Name }

// TextColumn keeps a version's text as it was sent.
func (m *Member) TextColumn() string { return m.Name + "_text" }

// BodyField is the field name under which a rejected event is sealed whole.
const BodyField = "body"

// BodyPad is the padding of a sealed rejection, in bytes.
const BodyPad = 32

// Protected lists the protected members, in order.
func (d *Dataset) Protected() []*Member {
	var out []*Member
	for i := range d.Members {
		if d.Members[i].Protect != nil {
			out = append(out, &d.Members[i])
		}
	}
	return out
}

// Member finds a member by name.
func (d *Dataset) Member(name string) (*Member, bool) {
	for i := range d.Members {
		if d.Members[i].Name == name {
			return &d.Members[i], true
		}
	}
	return nil, false
}

// SubjectIndex is the position of the subject among the members.
func (d *Dataset) SubjectIndex() int {
	for i := range d.Members {
		if d.Members[i].Name == d.Subject {
			return i
		}
	}
	return -1
}

// Columns lists the columns of a row that is loaded, in the order a row is written: message_id, create_date,
// clear columns, sealed columns, token columns for each version, data_key.
func (d *Dataset) Columns(versions []uint32) []string {
	columns := []string{"message_id", "create_date"}
	for i := range d.Members {
		m := &d.Members[i]
		if m.Protect != nil {
			continue
		}
		columns = append(columns, m.Name)
		if m.Type == Version {
			columns = append(columns, m.TextColumn())
		}
	}
	for _, m := range d.Protected() {
		columns = append(columns, m.SealedColumn())
	}
	for _, v := range versions {
		for _, m := range d.Protected() {
			columns = append(columns, m.TokenColumn(v))
		}
	}
	return append(columns, "data_key")
}

//go:embed datasets/login.yaml
var loginYAML []byte

var login = sync.OnceValue(func() *Dataset {
	d, err := Parse(loginYAML)
	if err != nil {
		panic(fmt.Sprintf("the embedded dataset login.yaml: %v", err))
	}
	return d
})

// Login is the embedded login dataset.
func Login() *Dataset { return login() }

var identifier = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// Parse reads a dataset. Unknown keys are errors.
func Parse(text []byte) (*Dataset, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var d Dataset
	if err := decoder.Decode(&d); err != nil {
		return nil, fmt.Errorf("parsing dataset: %w", err)
	}
	return &d, d.check()
}

func (d *Dataset) check() error {
	for _, name := range []string{d.Name, d.Table} {
		if !identifier.MatchString(name) {
			return fmt.Errorf("parsing dataset: %q is not an identifier ([a-z][a-z0-9_]*, at most 40 characters)", name)
		}
	}
	seen := map[string]bool{}
	for i := range d.Members {
		if err := d.Members[i].check(); err != nil {
			return fmt.Errorf("parsing dataset: member %d (%q): %w", i+1, d.Members[i].Name, err)
		}
		if seen[d.Members[i].Name] {
			return fmt.Errorf("parsing dataset: member %q stands twice", d.Members[i].Name)
		}
		seen[d.Members[i].Name] = true
	}
	subject, ok := d.Member(d.Subject)
	if !ok || subject.Protect != nil || subject.Type != Text || !subject.Required {
		return fmt.Errorf("parsing dataset: the subject %q must be a required clear member of type text", d.Subject)
	}
	return nil
}

func (m *Member) check() error {
	switch {
	case !identifier.MatchString(m.Name):
		return fmt.Errorf("the name is not an identifier ([a-z][a-z0-9_]*, at most 40 characters)")
	case m.Type != Text && m.Type != Version:
		return fmt.Errorf("type %q is neither text nor version", m.Type)
	case m.Max < 1 || m.Max > 100_000:
		return fmt.Errorf("max %d is not between 1 and 100000", m.Max)
	case m.Protect == nil:
		return nil
	case m.Type != Text:
		return fmt.Errorf("only a text member can be protected")
	case m.Protect.Pad < 16 || m.Protect.Pad > 4096:
		return fmt.Errorf("pad %d is not between 16 and 4096", m.Protect.Pad)
	case m.Protect.Normalise == "":
		return fmt.Errorf("normalise is not named")
	}
	return nil
}
