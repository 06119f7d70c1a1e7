// Package dataset describes one kind of event: the members it has, the table it goes to, and which of its members are
// protected and how. The description is data, a YAML file or the canonical JSON that the vault keeps; Go code elsewhere
// works on the description and names no member.
//
// Which function do I call?
//
//   - [Lint] reads a YAML file and lists every mistake with its place; [Parse] wants it without one.
//   - [Dataset.Canonical] and [Dataset.Hash] are what the vault stores, and [ParseCanonical] reads it back.
//   - [Dataset.TableColumns], [Dataset.CreateSQL] and the functions beside them make the table and the analysts' views.
//   - [Plan] says how to get from one definition to the next, or why that cannot be done.
//   - [NewDecoder] reads events; [NewTokeniser] makes the tokens of what was read, or of what was opened.
//
// A Dataset is read-only once it was parsed, and safe for concurrent use.
package dataset

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cloakroom/crypto/blindindex"
)

// Type says how a member's JSON value is read, and in which SQL type it is stored in clear.
type Type string

// The types. A JSON string is sealed as its decoded UTF-8; every other JSON value, and each value of type json, is
// sealed as its JSON text.
const (
	Text      Type = "text"      // a JSON string, varchar(max)
	Integer   Type = "integer"   // a JSON number without fraction and exponent that fits 64 bits, bigint
	Decimal   Type = "decimal"   // a JSON number, or a string that holds one, numeric(precision, scale)
	Boolean   Type = "boolean"   // true or false, boolean
	Date      Type = "date"      // a string YYYY-MM-DD, date
	Timestamp Type = "timestamp" // a string as RFC 3339 has it, with its offset from UTC, timestamptz
	UUID      Type = "uuid"      // a string of 32 hexadecimal digits, with hyphens or without, uuid
	IP        Type = "ip"        // a string, an IPv4 or IPv6 address without zone, inet
	JSON      Type = "json"      // any JSON value, jsonb
	// Version is MAJOR[.MINOR[.PATCH]], a string or a number read by its literal text. It is stored as an integer that
	// orders as versions do, beside the text that was sent.
	Version Type = "version"
)

var types = []Type{Text, Integer, Decimal, Boolean, Date, Timestamp, UUID, IP, JSON, Version}

// Partition says how long a partition of the row table is.
type Partition string

// The lengths of partitions.
const (
	Monthly Partition = "month"
	Daily   Partition = "day"
)

// Dataset is one kind of event.
type Dataset struct {
	// Name enters the associated data of every sealed value and the derivation of every subkey: changing it makes
	// what is stored unreadable.
	Name string
	// Table is the table in schema cloakroom_data, and the view in schema public.
	Table string
	// Subject names the clear member that says whose event it is; it is bound into the associated data. Empty:
	// nobody's.
	Subject string
	// ID names the member that makes two events the same one. Empty: the delivery's id does.
	ID string
	// Time names the member that says when the event was. Empty: the delivery's time.
	Time      string
	Partition Partition
	Members   []Member
}

// Member is one member of the JSON event.
type Member struct {
	Name string
	Path []string // where it stands in the event: the names of the objects around it, then its own
	Type Type
	// Max and Min are lengths in Unicode code points: of a text or version as sent, and of a json's text. Max is set
	// for an ip, too.
	Max, Min  int
	Required  bool // absent, null or empty is a rejection
	Precision int  // of a decimal: digits in all
	Scale     int  // of a decimal: digits after the point
	// Least and Most bound the value of an integer, decimal, date or timestamp. They are in canonical form; empty:
	// none.
	Least, Most string
	Enum        []string // of a text or integer: the values allowed; nil: all
	Pattern     string   // of a text: RE2, must match the whole value; empty: none
	Protect     *Protection
}

// Protection says how a protected member is sealed and indexed. A member without one is stored in clear.
type Protection struct {
	Normalise []string // steps of package blindindex, in order
	Pad       int      // sealed lengths are multiples of it, in bytes
	Indexes   []string // exact, prefix/N, last/N, domain; each is a token column of its own
	Reveal    string   // domain, last4 or network, shown in clear; empty: nothing is
	Nothing   []string // values that mean "none": sealed, with the token "-"
}

// Index is one token column of a protected member.
type Index struct {
	Member    *Member
	Kind      string // exact, prefix/24, last/4, domain
	Transform blindindex.Transform
}

// Exact is the kind of the index over the whole value.
const Exact = "exact"

// Name is the kind as it stands in a column's name: prefix24.
func (ix Index) Name() string { return strings.ReplaceAll(ix.Kind, "/", "") }

// ViewColumn is the token's name in the analysts' view: masked_email, masked_email__domain.
func (ix Index) ViewColumn() string {
	if ix.Kind == Exact {
		return "masked_" + ix.Member.Name
	}
	return "masked_" + ix.Member.Name + "__" + ix.Name()
}

// TokenColumn holds the token under one version of the index key.
func (ix Index) TokenColumn(version uint32) string {
	return ix.ViewColumn() + "_v" + strconv.FormatUint(uint64(version), 10)
}

// Transform returns the transform of an index of the member. Parse has seen to it that there is one.
func (p *Protection) Transform(kind string) (blindindex.Transform, error) {
	if kind == Exact {
		kind = ""
	}
	return blindindex.Compose(p.Normalise, kind)
}

// Indexes are the member's token columns in the order of the definition.
func (m *Member) Indexes() []Index {
	if m.Protect == nil {
		return nil
	}
	out := make([]Index, 0, len(m.Protect.Indexes))
	for _, kind := range m.Protect.Indexes {
		t, err := m.Protect.Transform(kind)
		if err != nil {
			panic(fmt.Sprintf("dataset: index %s of %s was not checked: %v", kind, m.Name, err))
		}
		out = append(out, Index{Member: m, Kind: kind, Transform: t})
	}
	return out
}

// Indexes are the token columns of all members. The vault derives one subkey for each, in this order.
func (d *Dataset) Indexes() []Index {
	var out []Index
	for i := range d.Members {
		out = append(out, d.Members[i].Indexes()...)
	}
	return out
}

// SealedColumn holds the member's sealed value.
func (m *Member) SealedColumn() string { return "sealed_" + m.Name }

// TokenColumn holds the token of the member's exact index under one version of the index key.
func (m *Member) TokenColumn(version uint32) string {
	return Index{Member: m, Kind: Exact}.TokenColumn(version)
}

// ViewColumn is the name of the exact index's token in the analysts' view.
func (m *Member) ViewColumn() string { return Index{Member: m, Kind: Exact}.ViewColumn() }

// RevealColumn shows what the member reveals, in the table and in the view: email__domain.
func (m *Member) RevealColumn() string { return m.Name + "__" + m.Protect.Reveal }

// TextColumn keeps a version's text as it was sent.
func (m *Member) TextColumn() string { return m.Name + "_text" }

// From is the member's place in the event as the definition writes it: customer.email, or a JSON Pointer (RFC 6901)
// where a name holds a dot or is empty.
func (m *Member) From() string { return formatPath(m.Path) }

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
	if i := d.index(name); i >= 0 {
		return &d.Members[i], true
	}
	return nil, false
}

// SubjectIndex is the position of the subject among the members, or -1.
func (d *Dataset) SubjectIndex() int { return d.index(d.Subject) }

// index is the position of a member, or -1.
func (d *Dataset) index(name string) int {
	return slices.IndexFunc(d.Members, func(m Member) bool { return m.Name == name })
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
