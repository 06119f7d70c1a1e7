package dataset

import (
	"slices"
	"strings"

	"cloakroom/crypto/blindindex"
)

// ipPad is more than the 45 characters of the longest address and its padding's mark: every sealed address is as long.
const ipPad = 48

// The forms that may be revealed, and the transform that makes each. See [Tokeniser.AppendReveal].
const (
	revealDomain  = "domain"
	revealLast4   = "last4"
	revealNetwork = "network"
)

var reveals = []string{revealDomain, revealLast4, revealNetwork}

// protection holds a member's protection to the rules.
func (r *report) protection(at string, m *Member) {
	p := m.Protect
	if p.Pad < minPad || p.Pad > maxPad {
		r.wrong(at+".pad", "range", "32 is a good pad for most texts", "pad %d of %s is not between %d and %d bytes",
			p.Pad, m.Name, minPad, maxPad)
	}
	if m.Type == IP && p.Pad < ipPad {
		r.wrong(at+".pad", "pad_shows_length", "leave pad out",
			"pad %d is less than %d bytes: an address's length would tell which kind it is", p.Pad, ipPad)
	}
	r.normalisation(at, m)
	seen := map[string]bool{}
	for i, kind := range p.Indexes {
		if seen[kind] {
			r.wrong(element(at+".index", i), "index_taken", "", "index %q is listed twice", kind)
		}
		seen[kind] = true
		r.index(element(at+".index", i), m, kind)
	}
	r.reveal(at+".reveal", m)
	for i, value := range p.Nothing {
		if slices.Contains(p.Nothing[:i], value) {
			r.wrong(element(at+".nothing", i), "nothing", "", "the value is listed twice")
		}
	}
	if len(p.Nothing) > 0 && len(p.Indexes) == 0 && p.Reveal == "" {
		r.wrong(at+".nothing", "nothing", "leave it out",
			"%s has no index and reveals nothing: no value of it can mean none", m.Name)
	}
}

// normalisation checks the steps. For a text they are never implied: which values shall be equal is the author's
// decision.
func (r *report) normalisation(at string, m *Member) {
	p := m.Protect
	if len(p.Normalise) == 0 {
		if p.Normalise != nil || m.Type == Text && (len(p.Indexes) > 0 || p.Reveal != "") {
			r.wrong(at, "normalise",
				"add normalise: [trim, casefold] for e-mail, [alnum] for device ids, [text] to keep case and "+
					"punctuation",
				"normalise of %s is not named", m.Name)
		}
		return
	}
	if m.Type != Text && !slices.Equal(p.Normalise, impliedSteps(m.Type)) {
		r.wrong(at+".normalise", "normalise", "leave it out", "a member of type %s has one canonical form", m.Type)
		return
	}
	for i, step := range p.Normalise {
		if t, err := blindindex.ParseTransform(step); err != nil || strings.ContainsAny(string(t), "+|") {
			r.wrong(element(at+".normalise", i), "normalise", nearestOf(step, []string{"text", "trim", "casefold",
				"digits", "alnum", "ip"}), "there is no step %q", step)
			return
		}
	}
	if _, err := p.Transform(Exact); err != nil {
		r.wrong(at+".normalise", "normalise",
			"at most four steps, none twice in a row; ip stands alone or behind trim", "the steps do not fit together")
	}
}

func (r *report) index(at string, m *Member, kind string) {
	if m.Type == JSON {
		r.wrong(at, "index", "write index: [], or take the member out with from:",
			"a json has no canonical form, so it cannot be indexed")
		return
	}
	if kind != Exact && m.Type != Text && m.Type != IP {
		r.wrong(at, "index", "write exact", "a member of type %s has no index %q", m.Type, kind)
		return
	}
	exact, errExact := m.Protect.Transform(Exact)
	if errExact != nil {
		return // The steps were blamed.
	}
	if t, err := m.Protect.Transform(kind); err != nil || kind == "" || kind != Exact && t == exact {
		hint := "it is exact, domain, prefix/N (1 to 64 characters) or last/N; a domain needs its @, which alnum " +
			"and digits drop"
		if exact == blindindex.IP || strings.HasSuffix(string(exact), "+ip") {
			hint = "it is exact or prefix/N with N of 1 to 32: prefix/24 is 24 bits of an IPv4 address and 48 of " +
				"an IPv6 address"
		}
		r.wrong(at, "index", hint, "there is no index %q of %s", kind, m.Name)
	}
}

func (r *report) reveal(at string, m *Member) {
	if m.Protect.Reveal == "" {
		return
	}
	if !slices.Contains(reveals, m.Protect.Reveal) {
		r.wrong(at, "reveal", nearestOf(m.Protect.Reveal, reveals), "there is no reveal %q", m.Protect.Reveal)
		return
	}
	if m.Type != Text && m.Type != IP {
		r.wrong(at, "reveal", "", "a member of type %s reveals nothing", m.Type)
		return
	}
	_, errExact := m.Protect.Transform(Exact)
	if _, err := m.Protect.revealTransform(); errExact == nil && err != nil {
		r.wrong(at, "reveal",
			"domain needs its @, which alnum, digits and ip drop; network needs normalise: [ip]; last4 does not go "+
				"with ip",
			"%s cannot reveal its %s", m.Name, m.Protect.Reveal)
	}
}

// revealTransform makes the form that is revealed.
func (p *Protection) revealTransform() (blindindex.Transform, error) {
	steps := p.Normalise
	ip := len(steps) > 0 && steps[len(steps)-1] == string(blindindex.IP)
	switch {
	case p.Reveal == revealNetwork && ip:
		return blindindex.Compose(steps, "prefix/24")
	case p.Reveal == revealDomain:
		return blindindex.Compose(steps, "domain")
	case p.Reveal == revealLast4 && !ip:
		return blindindex.Compose(steps, "last/4")
	}
	return "", blindindex.ErrTransform
}
