package infer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// Limits of a definition that a draft keeps to.
const (
	maxText     = 100_000 // characters
	maxJSON     = 1 << 20
	defaultJSON = 65_536
	maxDigits   = 1000
)

// member is one of a draft.
type member struct {
	dataset.Member
	verdict
	from   *node
	notes  []string
	sound  bool // where it is, it can be read
	always bool // and it is in every event
	// lost are values of the sample that become NULL, or are cut from the row, although the event is stored.
	lost int64
}

// nearlyAlways: nineteen events of twenty have it. The others are taken for broken, if it must be there.
func (m *member) nearlyAlways(events int64) bool {
	return m.sound && m.from.values() <= events && 20*m.from.values() >= 19*events
}

// require makes the member required, and says what that means for the sample.
func (m *member) require(events int64) {
	m.Required = true
	if missing := events - m.from.values(); missing > 0 {
		what := "have none, and would be rejections"
		if missing == 1 {
			what = "has none, and would be a rejection"
		}
		m.notes = append(m.notes, fmt.Sprintf("%d of %d events %s", missing, events, what))
	}
}

// enough is how many events show that a member is always there.
const enough = 10

// isJSON: the value stays JSON.
func (n *node) isJSON() bool {
	kinds := 0
	for _, count := range []int64{n.texts, n.numbers, n.booleans} {
		if count > 0 {
			kinds++
		}
	}
	switch {
	case n.objects+n.arrays > 0, n.textMax > maxText, n.numbers > 0 && n.hugeDigits():
		return true
	case kinds < 2:
		return n.numbersRead[readNumber] < n.numbers // beyond 1e1000
	case n.booleans > 0:
		return n.numbers > 0 || n.meant() > 0
	}
	return n.meant() > 0 && !n.allVersions() && n.reads[readNumber] < n.meant()
}

// hugeDigits: more digits than a decimal may have.
func (n *node) hugeDigits() bool { return n.whole+n.fraction > maxDigits-20 }

func (n *node) allVersions() bool {
	return n.namesVersion() && n.reads[readVersion]+n.numbersRead[readVersion] > 0 &&
		10*(n.reads[readVersion]+n.numbersRead[readVersion]) >= 9*(n.meant()+n.numbers)
}

// makeMember decides what a place becomes.
func makeMember(n *node, events int64) *member {
	m := &member{from: n, verdict: n.judge()}
	m.Path = n.path
	m.setType()
	if m.what != "" && m.Type != dataset.Version {
		m.protect()
	}
	if in := n.hits[hitJSON]; in > 0 && 2*in >= n.meant() {
		m.notes = append(m.notes, fmt.Sprintf("%d of %d values hold JSON within a text: if it is the event, and the rest its "+
			"envelope, draft with --unwrap (such as sns), and set unwrap for the queue", in, n.values()))
	}
	m.lost = m.unreadable()
	if m.lost > 0 {
		m.notes = append(m.notes, fmt.Sprintf("%d of %d values cannot be read as %s: they become NULL, and are counted",
			m.lost, n.values(), m.Type))
	}
	// What normalising leaves nothing of has no token: of a required member, that would be a rejection.
	whole := m.Type == dataset.Text && m.Protect == nil || n.noneCount() == 0
	if m.Protect != nil && slices.Contains(m.Protect.Normalise, "digits") {
		whole = whole && n.noDigit == 0
	}
	if m.Protect != nil {
		whole = whole && n.blank == 0
	}
	m.sound = m.lost == 0 && n.empty == 0 && whole
	m.always = m.sound && n.values() == events
	// Versions to come may be 2.3.0-beta, whose text is kept.
	m.Required = m.always && events >= enough && m.Type != dataset.Version
	m.noteCodes()
	return m
}

// nearly: all values are of the type, or enough of them that the others are mistakes.
func (n *node) nearly(what read) bool {
	meant := n.meant()
	return n.all(what) || meant >= 20 && 100*n.reads[what] >= 95*meant
}

func (m *member) setType() {
	n := m.from
	switch {
	case n.isJSON(), n.allVersions() && m.what != "" && n.numbers > 0: // a version cannot be sealed
		m.Type = dataset.JSON
		if 2*n.rawMax > defaultJSON {
			m.Max = min(roundUp(2*n.rawMax), maxJSON)
		}
	case n.allVersions() && m.what == "":
		m.Type, m.Max = dataset.Version, max(32, roundUp(2*n.textMax))
	case n.numbers > 0 && n.texts == n.empty+n.noneCount() && n.numbersRead[readInteger] == n.numbers:
		m.Type = dataset.Integer
		m.noteUnixTime()
	case n.numbers > 0:
		m.setDecimal()
	case n.booleans > 0:
		m.Type = dataset.Boolean
	case n.nearly(readIP) && !n.namesVersion():
		m.Type = dataset.IP
	case n.nearly(readUUID) && n.reads[readHyphens] == n.reads[readUUID]:
		m.Type = dataset.UUID
	case n.nearly(readDate):
		m.Type = dataset.Date
	case n.nearly(readTimestamp):
		m.Type = dataset.Timestamp
	case n.all(readDecimal) && m.what == "" && !n.hugeDigits():
		m.setDecimal()
	default:
		m.Type = dataset.Text
		m.Max = m.textMax()
	}
}

// textMax is twice the longest value, rounded up, so that events to come fit, too. An e-mail address has at most 254
// characters (RFC 5321).
func (m *member) textMax() int {
	longest := m.from.textMax
	if m.what == dataset.Email && longest <= 254 {
		return 254
	}
	return min(max(32, roundUp(2*longest)), maxText)
}

// setDecimal leaves room for three more digits before the point. Numbers with many digits behind it are floats, whose
// next may have up to 17.
func (m *member) setDecimal() {
	whole, scale := max(m.from.whole+3, 6), max(m.from.fraction, 2)
	if m.from.fraction > 4 {
		scale = max(m.from.fraction, 17)
	}
	m.Type, m.Precision, m.Scale = dataset.Decimal, whole+scale, scale
	m.notes = append(m.notes, fmt.Sprintf("up to %d digits before the point, and %d after, in the sample", m.from.whole,
		m.from.fraction))
}

// roundUp gives the next power of two.
func roundUp(n int) int {
	power := 1
	for power < n {
		power *= 2
	}
	return power
}

// noteUnixTime: seconds or milliseconds since 1970 cannot be the dataset's time.
func (m *member) noteUnixTime() {
	words := dataset.Words(m.from.name)
	if m.from.whole != 10 && m.from.whole != 13 || len(words) == 0 {
		return
	}
	if last := words[len(words)-1]; timeWords[last] {
		m.notes = append(m.notes, "it looks like a Unix time; only a text such as 2026-01-31T10:00:00Z can be time:")
	}
}

// unreadable counts the values that the member drops.
func (m *member) unreadable() int64 {
	n := m.from
	nones := n.otherNones // texts that mean none, and are neither listed nor read by the type
	for text, count := range n.nones {
		listed := m.Protect != nil && slices.Contains(m.Protect.Nothing, text)
		if !listed && !dataset.Reads(m.Type, jsontext.KindString, []byte(text)) {
			nones += count
		}
	}
	switch m.Type {
	case dataset.JSON:
		if m.Protect == nil {
			return n.unstorable
		}
		return n.tooLong
	case dataset.Text:
		return n.nul
	case dataset.Version: // its text is kept
		return n.texts + n.numbers - n.reads[readVersion] - n.numbersRead[readVersion]
	case dataset.Integer:
		return n.texts
	case dataset.Decimal:
		return n.numbers - n.numbersRead[readNumber] + n.meant() - n.reads[readNumber] + n.empty + nones
	case dataset.Boolean:
		return n.texts
	}
	return n.meant() - n.reads[map[dataset.Type]read{
		dataset.IP: readIP, dataset.UUID: readUUID, dataset.Date: readDate, dataset.Timestamp: readTimestamp,
	}[m.Type]] + n.empty + nones
}

// codeWords are names of members that hold one of few codes, which say nothing of a person.
var codeWords = setOf("type kind status state method platform os level currency country locale lang language channel source " +
	"action event result outcome plan tier category protocol scheme severity provider brand unit mode stage env environment " +
	"region browser")

// noteCodes lists the values of a member that has few, and whose name says that they are codes. Where the sample is so
// large that another value is rarer than three in a thousand, it allows no other.
func (m *member) noteCodes() {
	n := m.from
	words := dataset.Words(n.name)
	if m.Type != dataset.Text || m.what != "" || len(n.codes) < 2 || len(words) == 0 || !codeWords[words[len(words)-1]] {
		return
	}
	values := slices.Sorted(maps.Keys(n.codes))
	often := n.texts >= 1000
	for _, v := range values {
		if strings.Trim(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./") != "" || v == "" ||
			onlyDigits(v) {
			return
		}
		often = often && 100*n.codes[v] >= n.texts
	}
	if often && len(values) <= 8 {
		m.Enum = values
		m.notes = append(m.notes, "no other value in the sample; another would become NULL, and be counted")
		if m.Required {
			m.notes[len(m.notes)-1] = "no other value in the sample; another would be a rejection"
		}
		return
	}
	m.notes = append(m.notes, fmt.Sprintf("values: %s", strings.Join(values, ", ")))
}

func onlyDigits(text string) bool { return strings.Trim(text, "0123456789") == "" }

func setOf(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}
