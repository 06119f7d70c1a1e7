package dataset

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cloakroom/crypto/blindindex"
)

// Lengths in bytes. With them the longest column, masked_<member>__<index>_v<version>, has 63, which is all that
// Postgres keeps of a name.
const (
	maxMember  = 32
	maxTable   = 40
	maxMembers = 200
)

// Limits of lengths, in characters.
const (
	maxText = 100_000
	maxJSON = 1 << 20
	// maxIP is more than the longest way to write an address has.
	maxIP       = 64
	defaultJSON = 65_536
)

// Limits of a pad, in bytes.
const (
	minPad     = 16
	maxPad     = 4096
	defaultPad = 32
)

var identifier = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// partitionName is how the partitions of a table end.
var partitionName = regexp.MustCompile(`_\d{4}_\d{2}(_\d{2})?$`)

// systemColumns are those of every row table and of every Postgres table, and the field of a rejected event.
var systemColumns = []string{
	"message_id", "message_sent", "sent", "row_id", "create_date", "data_key", BodyField,
	"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax", "oid",
}

// fillDefaults makes explicit what was left out, so that the canonical form does not depend on the defaults of the
// program that reads it.
func (d *Dataset) fillDefaults() {
	if d.Partition == "" {
		d.Partition = Monthly
	}
	for i := range d.Members {
		m := &d.Members[i]
		if m.Path == nil {
			m.Path = []string{m.Name}
		}
		switch {
		case m.Max != 0:
		case m.Type == JSON:
			m.Max = defaultJSON
		case m.Type == IP:
			m.Max = maxIP
		}
		p := m.Protect
		if p == nil {
			continue
		}
		if p.Indexes == nil {
			p.Indexes = []string{Exact}
		}
		if p.Pad == 0 {
			p.Pad = defaultPad
			if m.Type == IP {
				p.Pad = ipPad
			}
		}
		if p.Normalise == nil && m.Type != Text && len(p.Indexes) > 0 {
			p.Normalise = impliedSteps(m.Type)
		}
	}
}

// impliedSteps are the steps of a type that has one canonical form. The token of a uuid, number, date or timestamp
// is made of that form, which text leaves as it is.
func impliedSteps(t Type) []string {
	if t == IP {
		return []string{string(blindindex.IP)}
	}
	return []string{string(blindindex.Text)}
}

// check holds the definition to every rule.
func (r *report) check(d *Dataset) {
	r.name("dataset", d.Name, maxTable)
	r.name("table", d.Table, maxTable)
	if strings.HasPrefix(d.Name, "rejections_") {
		r.wrong("dataset", "name_reserved", "the vault calls staging tables so", "a dataset cannot be called %q", d.Name)
	}
	if strings.HasSuffix(d.Table, "_duplicates") || partitionName.MatchString(d.Table) || strings.HasPrefix(d.Table,
		"pg_") {
		r.wrong("table", "name_reserved",
			"pg_ at the begin and _duplicates, _2026_01 or _2026_01_31 at the end are taken", "the table cannot be "+
				"called %q", d.Table)
	}
	if d.Partition != Monthly && d.Partition != Daily {
		r.wrong("partition", "partition", "write month or day", "there is no partition %q", string(d.Partition))
	}
	if len(d.Members) == 0 || len(d.Members) > maxMembers {
		r.wrong("members", "members", "", "a dataset has 1 to %d members, not %d", maxMembers, len(d.Members))
	}
	taken := map[string]string{}
	for i := range d.Members {
		at := element("members", i)
		m := &d.Members[i]
		r.name(at+".name", m.Name, maxMember)
		r.member(at, m)
		r.columnsTaken(at, m, taken)
		for j := range d.Members[:i] {
			if other := &d.Members[j]; overlaps(other.Path, m.Path) {
				r.wrong(at+".from", "path_taken",
					"each part of the event is read once: else a value protected here could stand in clear there",
					"%s and %s overlap: %s, %s", m.Name, other.Name, m.From(), other.From())
			}
		}
	}
	r.roles(d)
}

func (r *report) name(at, name string, most int) {
	const hint = "a name begins with a letter a to z and goes on with these, digits and single _"
	switch {
	case !identifier.MatchString(name):
		r.wrong(at, "name", hint, "%q is no name", name)
	case len(name) > most:
		r.wrong(at, "name_length", "", "%q has %d characters, more than %d", name, len(name), most)
	case strings.Contains(name, "__") || strings.HasSuffix(name, "_"):
		r.wrong(at, "name_reserved", "columns are called <member>__<index>",
			"%q has two _ in a row, or one at its end", name)
	}
}

// columnsTaken finds two members that would have the same column.
func (r *report) columnsTaken(at string, m *Member, taken map[string]string) {
	if slices.Contains(systemColumns, m.Name) || strings.HasPrefix(m.Name, "sealed_") || strings.HasPrefix(m.Name,
		"masked_") {
		r.wrong(at+".name", "name_reserved", "choose another name, and say with from where the value stands",
			"a member cannot be called %q", m.Name)
	}
	names := []string{m.Name}
	if m.Type == Version {
		names = append(names, m.TextColumn())
	}
	for _, name := range names {
		if other, twice := taken[name]; twice {
			r.wrong(at+".name", "name_taken", "", "column %s is that of %s already", name, other)
		}
		taken[name] = m.Name
	}
}

// member holds one member to the rules of its type.
func (r *report) member(at string, m *Member) {
	if !slices.Contains(types, m.Type) {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = string(t)
		}
		r.wrong(at+".type", "type", nearestOf(string(m.Type), names), "there is no type %q", string(m.Type))
		return
	}
	for _, k := range memberKeys {
		if _, written := r.places[at+"."+k.name]; written && k.types != nil && !slices.Contains(k.types, m.Type) {
			r.wrong(at+"."+k.name, "key_for_type", "", "a member of type %s has no %s", m.Type, k.name)
			return
		}
	}
	r.lengths(at, m)
	r.bounds(at, m)
	if m.Pattern != "" {
		if _, err := compilePattern(m.Pattern); err != nil {
			r.wrong(at+".pattern", "pattern", "it is RE2's syntax: no look-around, no back-references",
				"the pattern is no regular expression")
		}
	}
	r.enum(at+".enum", m)
	if m.Protect != nil {
		r.protection(at+".protect", m)
	}
}

func (r *report) lengths(at string, m *Member) {
	most := 0
	switch m.Type {
	case Text, Version:
		most = maxText
	case JSON:
		most = maxJSON
	case IP:
		most = maxIP
	case Decimal:
		if m.Precision < 1 || m.Precision > 1000 || m.Scale < 0 || m.Scale > m.Precision {
			r.wrong(at+".precision", "range", "precision: 12, scale: 2 is up to 9999999999.99",
				"a precision is 1 to 1000, and a scale 0 to the precision, not %d and %d", m.Precision, m.Scale)
		}
		return
	default:
		return
	}
	if m.Max < 1 || m.Max > most {
		r.wrong(at+".max", "range", "max is a number of characters", "max %d of %s is not between 1 and %d", m.Max,
			m.Name, most)
	}
	if m.Min < 0 || m.Min > m.Max {
		r.wrong(at+".min", "range", "", "min %d of %s is not between 0 and max", m.Min, m.Name)
	}
}

func (r *report) bounds(at string, m *Member) {
	if m.Least != "" && m.Most != "" && compareValues(m.Type, m.Least, m.Most) > 0 {
		r.wrong(at+".min", "range", "", "min of %s is greater than max", m.Name)
	}
}

func (r *report) enum(at string, m *Member) {
	if m.Enum != nil && len(m.Enum) == 0 {
		r.wrong(at, "enum", "name a value, or leave enum out", "the enum allows nothing")
	}
	seen := map[string]bool{}
	for i, value := range m.Enum {
		switch canonical, ok := canonicalBound(Integer, value); {
		case m.Type == Integer && (!ok || canonical != value):
			r.wrong(element(at, i), "enum", formOf(Integer), "%q is no integer", value)
		case m.Type == Text && (utf8.RuneCountInString(value) > m.Max || strings.ContainsRune(value, 0)):
			r.wrong(element(at, i), "enum", "", "%q is longer than max, or holds U+0000", value)
		case seen[value]:
			r.wrong(element(at, i), "enum", "", "%q is listed twice", value)
		}
		seen[value] = true
	}
}

// roles checks the members that have a part to play: subject, id, time.
func (r *report) roles(d *Dataset) {
	role := func(key, name string, required bool, allowed ...Type) {
		if name == "" {
			if _, written := r.places[key]; written {
				r.wrong(key, key, "", "%s names no member", key)
			}
			return
		}
		m, ok := d.Member(name)
		switch {
		case !ok:
			names := make([]string, len(d.Members))
			for i := range d.Members {
				names[i] = d.Members[i].Name
			}
			r.wrong(key, key, nearestOf(name, names), "the %s %q is no member", key, name)
		case m.Protect != nil:
			r.wrong(key, key, "it stands in the row in clear; take a pseudonym, such as a customer number",
				"the %s %q is protected", key, name)
		case !slices.Contains(allowed, m.Type):
			r.wrong(key, key, "", "the %s %q is of type %s", key, name, m.Type)
		case required && !m.Required:
			r.wrong(key, key, "add required: true to the member", "the %s %q is not required", key, name)
		}
	}
	role("subject", d.Subject, false, Text, Integer, UUID)
	role("id", d.ID, true, Text, Integer, UUID)
	role("time", d.Time, true, Timestamp)
	if d.ID != "" && d.Time == "" {
		r.wrong("id", "id_needs_time",
			"add time: and the member that says when the event was: the key of a row holds it, "+
				"and a delivery's time differs each time an event is sent", "id needs time")
	}
}
