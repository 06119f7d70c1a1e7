package infer

import (
	"fmt"
	"slices"
	"strings"

	"cloakroom/dataset"
)

// verdict is what a place was judged to hold, and why. The reason quotes no value.
type verdict struct {
	what dataset.Personal
	why  string
}

// judge looks at the values first, and then at the name.
func (n *node) judge() verdict {
	if n.isJSON() {
		if v := n.judgeParts(); v.what != "" {
			return v
		}
	}
	total := n.meant() + n.numbers
	count := func(h hit) int64 { return n.hits[h] + n.numberHits[h] }
	most := func(h hit) bool { return count(h) > 0 && 2*count(h) >= total }
	of := func(h hit, what string) string { return fmt.Sprintf("%d of %d values %s", count(h), total, what) }
	named := dataset.NamedPersonal(n.path)
	switch {
	case n.texts+n.numbers == 0 && n.booleans > 0: // email_verified is a fact about an address
		return verdict{}
	case count(hitSecret) > 0:
		return verdict{dataset.Secret, of(hitSecret, "hold what looks like a key, a password's hash or a token")}
	case most(hitEmail), named == dataset.Email && count(hitEmail) > 0:
		return verdict{dataset.Email, of(hitEmail, "parse as e-mail addresses")}
	case most(hitIP) && !n.namesVersion(), named == dataset.Address && count(hitIP) > 0:
		return verdict{dataset.Address, of(hitIP, "are IP addresses")}
	case most(hitIBAN), named == dataset.IBAN && count(hitIBAN) > 0:
		return verdict{dataset.IBAN, of(hitIBAN, "are IBANs with right check digits")}
	case most(hitCard) && named != dataset.Device, named == dataset.Card && count(hitCard) > 0:
		return verdict{dataset.Card, of(hitCard, "are card numbers with right check digits (Luhn)")}
	case most(hitMAC):
		return verdict{dataset.Device, of(hitMAC, "are MAC addresses")}
	case named != "" && n.plausible(named):
		return verdict{named, n.nameSays(named)}
	case most(hitSSN):
		return verdict{dataset.National, of(hitSSN, "have the form of a US social security number")}
	case most(hitPhone):
		return verdict{dataset.Phone, of(hitPhone, "are written as phone numbers are")}
	case most(hitAgent):
		return verdict{dataset.Agent, of(hitAgent, "are user agents, which help to tell people apart")}
	case most(hitPlace):
		return verdict{dataset.Place, of(hitPlace, "are a latitude and a longitude")}
	case 10*count(hitName) >= 6*total && count(hitName) > 0:
		return verdict{dataset.Name, of(hitName, "look like names of people")}
	}
	if v := n.judgeInside(total, count); v.what != "" || named == "" || n.texts == 0 || n.codes != nil {
		return v
	}
	// The name may still be right: values are written in more ways than are known here.
	return verdict{dataset.FreeText, fmt.Sprintf("the name says %s, although the values do not look like it", string(named))}
}

// judgeInside looks for what stands within values, or in few of them.
func (n *node) judgeInside(total int64, count func(hit) int64) verdict {
	for _, look := range []struct {
		hits []hit
		what string
	}{
		{[]hit{hitEmail, hitEmailIn}, "hold an e-mail address"},
		{[]hit{hitIP, hitIPIn}, "hold an IP address"},
		{[]hit{hitCardIn}, "hold a card number"},
		{[]hit{hitPhone}, "are written as phone numbers are"},
		{[]hit{hitIBAN}, "are IBANs"},
	} {
		var found int64
		for _, h := range look.hits {
			found += count(h)
		}
		if found > 0 && !(n.namesVersion() && slices.Contains(look.hits, hitIP)) {
			return verdict{dataset.FreeText, fmt.Sprintf("%d of %d values %s", found, total, look.what)}
		}
	}
	if found := count(hitText); found > 0 && 5*found >= total && len(n.seen) > 20 {
		return verdict{dataset.FreeText, fmt.Sprintf("%d of %d values are several words, in which anything may stand", found,
			total)}
	}
	return verdict{}
}

// judgeParts judges what is kept whole by its parts: one that is personal makes the whole so.
func (n *node) judgeParts() verdict {
	parts := n.parts()
	if n.isPostal() {
		return verdict{dataset.Postal, "the names say a postal address"}
	}
	for _, part := range parts {
		v := part.judge()
		if v.what == "" {
			continue
		}
		where := "elements of it"
		if part.name != n.name {
			where = fmt.Sprintf("its member %s", quote(part.name))
		}
		return verdict{v.what, where + ": " + v.why}
	}
	return verdict{}
}

// parts are the places within one that is kept whole.
func (n *node) parts() []*node {
	var out []*node
	for _, child := range n.children {
		out = append(out, child)
	}
	slices.SortFunc(out, func(a, b *node) int { return a.place - b.place })
	if n.elements != nil {
		out = append(out, n.elements)
	}
	return out
}

// isPostal: the name of an object speaks of an address, and a member of it, too.
func (n *node) isPostal() bool {
	if n.objects == 0 || dataset.NamedPersonal(n.path[len(n.path)-1:]) != dataset.Postal {
		return false
	}
	for name := range n.children {
		if slices.Contains([]string{"street", "city", "town", "zip", "postcode", "line1", "ort", "stadt", "plz"},
			strings.Join(dataset.Words(name), "_")) || dataset.NamedPersonal([]string{name}) == dataset.Postal {
			return true
		}
	}
	return false
}

// plausible reports whether values can be what the name says.
func (n *node) plausible(named dataset.Personal) bool {
	total := n.meant() + n.numbers
	if total == 0 {
		return true
	}
	digits := 2*(total-n.noDigit) >= total
	long := 2*(n.hits[hitLong]+n.numberHits[hitLong]) >= total
	switch named {
	case dataset.Email:
		return n.hits[hitEmail]+n.hits[hitEmailIn] > 0
	case dataset.Address:
		return n.hits[hitIP]+n.hits[hitIPIn] > 0
	case dataset.Phone:
		return 2*(n.hits[hitDigits]+n.numberHits[hitDigits]) >= total
	case dataset.Card, dataset.IBAN:
		return digits && long
	case dataset.Birth:
		return digits
	case dataset.Device, dataset.Agent:
		return long
	case dataset.Name, dataset.Account:
		return n.numbers == 0
	}
	return true
}

// nameSays is the reason where the name decides.
func (n *node) nameSays(named dataset.Personal) string {
	total := n.meant() + n.numbers
	why := "the name says " + string(named)
	if named == dataset.Phone && total > 0 {
		why += fmt.Sprintf(", and %d %% have 7 to 15 digits", 100*(n.hits[hitDigits]+n.numberHits[hitDigits])/total)
	}
	if total == 0 {
		why += "; the sample has no value of it"
	}
	return why
}

// namesVersion: the name speaks of a version, of which four parts look like an address.
func (n *node) namesVersion() bool {
	for _, word := range dataset.Words(n.name) {
		if slices.Contains([]string{"version", "ver", "build", "release", "firmware", "appversion", "semver"}, word) {
			return true
		}
	}
	return false
}

// namesID: the name speaks of something that identifies.
func namesID(path []string) bool {
	words := dataset.Words(path[len(path)-1])
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	return strings.HasSuffix(last, "nummer") || slices.Contains(strings.Fields(
		"id uuid guid number no nr num key ref reference code numero identifier uid"), last)
}
