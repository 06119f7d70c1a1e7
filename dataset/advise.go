package dataset

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// fewValues is how many values an index should have at least. Below it, the frequencies of the tokens tell which is
// which.
const fewValues = 1000

// lengthSteps is how many lengths a sealed value may have before they tell the values apart: five bits.
const lengthSteps = 32

// advise warns of what can be used and is probably not meant.
func (r *report) advise(d *Dataset) {
	for i := range d.Members {
		at := element("members", i)
		m := &d.Members[i]
		if m.Protect == nil {
			r.adviseClear(at, d, m)
			continue
		}
		at += ".protect"
		for j, kind := range m.Protect.Indexes {
			r.adviseIndex(element(at+".index", j), m, kind)
		}
		if m.Type == Text && m.Enum == nil && m.Max/m.Protect.Pad > lengthSteps {
			r.warn(at+".pad", "pad_shows_length", "raise pad, or lower max",
				"a value of %s has up to %d characters: with pad %d its sealed length is one "+
					"of %d", m.Name, m.Max, m.Protect.Pad, m.Max/m.Protect.Pad+1)
		}
		if n := enumLengths(m); n > 1 {
			r.warn(at+".pad", "pad_shows_length", "raise pad above the longest value",
				"with pad %d the sealed length tells the values of %s apart", m.Protect.Pad, m.Name)
		}
	}
	if d.Subject == "" {
		r.warn("", "no_subject", "name the clear member that says whose the row is, if there is one",
			"without a subject nobody can be forgotten, and requests by user find nothing")
	}
}

func (r *report) adviseClear(at string, d *Dataset, m *Member) {
	if m.Name == d.Subject || m.Name == d.ID {
		return
	}
	// The column's name may say less than the event's: contact, from customer.email.
	what := cmp.Or(NamedPersonal([]string{m.Name}), NamedPersonal(m.Path))
	switch m.Type {
	case IP:
		what = Address
	case Boolean: // email_verified is a fact about an address
		what = ""
	}
	if what != "" {
		r.warn(at+".name", "clear_looks_personal", "add protect:, unless you are sure",
			"%s looks like %s, and stands in clear", m.Name, string(what))
	}
}

func (r *report) adviseIndex(at string, m *Member, kind string) {
	if n := valuesOf(m, kind); n > 0 && n < fewValues {
		r.warn(at, "index_few_values",
			"anybody who knows how often each value occurs reads the tokens: leave the index out",
			"index %s of %s has at most %d values", kind, m.Name, n)
	}
	same := map[string]string{revealDomain: "domain", revealLast4: "last/4", revealNetwork: "prefix/24"}
	if same[m.Protect.Reveal] == kind {
		r.warn(at, "index_equals_reveal", "leave one of them out", "index %s of %s hides what reveal %s shows", kind,
			m.Name, m.Protect.Reveal)
	}
}

// valuesOf is how many values an index can have, where the definition tells; else 0.
func valuesOf(m *Member, kind string) int {
	switch {
	case m.Type == Boolean:
		return 2
	case m.Enum != nil:
		return len(m.Enum)
	case m.Type == Integer && m.Least != "" && m.Most != "":
		least, _ := strconv.ParseInt(m.Least, 10, 64)
		most, _ := strconv.ParseInt(m.Most, 10, 64)
		if width := uint64(most) - uint64(least); width < fewValues {
			return int(width) + 1
		}
	case m.Type == IP:
		// A network of N bits is one of 2^N for IPv4, which are the most.
		if bits, err := strconv.Atoi(strings.TrimPrefix(kind, "prefix/")); err == nil && bits < 10 {
			return 1 << bits
		}
	case slices.Contains(m.Protect.Normalise, "digits"):
		_, size, _ := strings.Cut(kind, "/")
		if n, err := strconv.Atoi(size); err == nil && n < 3 {
			return []int{0, 10, 110}[n]
		}
	}
	return 0
}

// enumLengths is how many sealed lengths the values of an enum have.
func enumLengths(m *Member) int {
	lengths := map[int]bool{}
	for _, value := range m.Enum {
		lengths[len(value)/m.Protect.Pad] = true
	}
	return len(lengths)
}
