package infer

import (
	"fmt"
	"maps"
	"slices"

	"cloakroom/dataset"
)

// protection is how a kind of personal data is protected. The index is left out where its tokens would tell more than
// they are good for: names and dates of birth occur as often as the statistics of a country say (Naveed, Kamara and
// Wright, 2015).
type protection struct {
	normalise []string
	indexed   bool
	reveal    string
	advice    string
}

var protections = map[dataset.Personal]protection{
	dataset.Email: {normalise: []string{"trim", "casefold"}, indexed: true},
	dataset.Phone: {normalise: []string{"digits"}, indexed: true,
		advice: "+49 170 and 0170 do not meet: send one form"},
	dataset.Card: {normalise: []string{"digits"}, indexed: true, reveal: "last4"},
	dataset.IBAN: {normalise: []string{"alnum"}, indexed: true},
	// Of type ip it has one form; this is for a text in which most values are addresses.
	dataset.Address:  {normalise: []string{"casefold"}, indexed: true},
	dataset.National: {normalise: []string{"alnum"}, indexed: true},
	dataset.Device:   {normalise: []string{"alnum"}, indexed: true},
	dataset.Account:  {normalise: []string{"trim", "casefold"}, indexed: true},
	dataset.Agent:    {normalise: []string{"text"}, indexed: true},
	dataset.Secret:   {advice: "better not sent at all: then take this member out"},
}

// few is how many values an index should have at least, in a sample with many events.
const few = 20

// protect decides how a member that looks personal is sealed and indexed.
func (m *member) protect() {
	p := protections[m.what]
	n := m.from
	out := &dataset.Protection{Indexes: []string{}}
	if p.advice != "" {
		m.notes = append(m.notes, p.advice)
	}
	distinct := int64(len(n.seen))
	rare := n.values() >= 50 && !n.full && (distinct < few || 50*distinct < n.values())
	switch {
	case m.Type == dataset.JSON, m.Type == dataset.Boolean, !p.indexed:
	case rare:
		m.notes = append(m.notes, fmt.Sprintf(
			"no index: %s in %d events, so how often each occurs tells which it is", counted(distinct, "value"), n.values()))
	default:
		out.Indexes = []string{dataset.Exact}
	}
	m.Protect = out
	if m.Type == dataset.Text {
		out.Pad = padOf(n.textBytes, m.Max)
		if len(out.Indexes) > 0 {
			out.Normalise, out.Reveal = p.normalise, p.reveal
		}
		if m.what == dataset.Email && len(out.Indexes) > 0 {
			m.notes = append(m.notes, "with reveal: domain analysts would see what is behind the @; a rare one names its owner")
		}
	}
	if m.Type == dataset.JSON {
		out.Pad = padOf(n.rawMax, 0)
	}
	// An integer is no text, so none of it can be listed.
	if len(out.Indexes) > 0 && m.Type != dataset.Integer {
		out.Nothing = n.nothing()
	}
}

// padOf is a pad above the longest value of the sample where that is short, and else one with which the length says
// little. The reader of a definition warns where a length is one of more than 32.
func padOf(longest, most int) int {
	const least, large = 32, 128
	pad := min(max(least, (longest/16+1)*16), large)
	for most/pad > 32 {
		pad *= 2
	}
	return pad
}

// nothing are the ways to say none that occur, in the order of their frequency.
func (n *node) nothing() []string {
	out := slices.Sorted(maps.Keys(n.nones))
	slices.SortStableFunc(out, func(a, b string) int { return int(n.nones[b] - n.nones[a]) })
	return out
}
