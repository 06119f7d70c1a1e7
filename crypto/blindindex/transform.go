package blindindex

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Transform says how a field's values are normalised, and which part of the result is indexed, before the token is
// made. Its text is part of the key derivation: it never changes.
//
// A transform is one or more steps joined by "+", applied from left to right. A cut may follow after "|": it takes one
// part of the normalised value, so that values which share that part share the token.
//
//	ip                 the whole address
//	trim+casefold      two steps
//	ip|prefix/24       the network of an address: 24 bits of IPv4, twice as many of IPv6
//	casefold|domain    what follows the last @ of an e-mail address
//	digits|last/4      the last four characters
type Transform string

// The transforms of one step. Each is idempotent, and so is a chain of them.
const (
	// IP is an IPv4 or IPv6 address, in the canonical text of net/netip: lower case, compressed (RFC 5952).
	// IPv4-mapped IPv6 addresses become IPv4. Zones, leading zeros in IPv4 and surrounding spaces are refused.
	IP Transform = "ip"
	// Text is Unicode text in NFC, without surrounding white space (the property White_Space).
	Text Transform = "text"
	// CaseFold is Text under full case folding, so that texts are equal that match canonically caseless (The
	// Unicode Standard, section 3.13, D145). It knows no language: the Turkish dotted and dotless i stay apart.
	CaseFold Transform = "casefold"
	// Digits keeps decimal digits of any script (general category Nd), written in ASCII, and drops all else. It is
	// for identifiers whose punctuation varies, as in 199-172-056; where letters tell values apart it is wrong.
	Digits Transform = "digits"
	// Alnum keeps the letters, marks and numbers of any script (general categories L, M and N) of the case-folded
	// text, decimal digits written in ASCII, and drops all else: 199-172-056 and 199172056 meet, as do the ways to
	// write a UUID; device456 and 456 stay apart. A value that has none of these stays as CaseFold leaves it.
	// Values that differ only in where the punctuation stands meet, too: 1-23 and 12-3.
	Alnum Transform = "alnum"
	// Trim takes white space off both ends, and does nothing else.
	Trim Transform = "trim"
)

// Why a value has no token. None says anything of the value.
var (
	// ErrTransform reports the text of no transform.
	ErrTransform = errors.New("unknown transform: want steps of ip, text, casefold, digits, alnum and trim, " +
		"and then perhaps |prefix/N, |last/N or |domain")
	// ErrEmpty reports a value of which normalising leaves nothing.
	ErrEmpty = errors.New("value is empty")
	// ErrUTF8 reports a value that is not valid UTF-8.
	ErrUTF8 = errors.New("value is not valid UTF-8")
	// ErrAddress reports a value that is no IP address.
	ErrAddress = errors.New("value is not an IP address")
	// ErrPart reports a value that lacks the part which the cut takes: a domain, where there is no @.
	ErrPart = errors.New("value has no such part")
)

// maxSteps bounds a chain. Four is one more than any chain that makes sense.
const maxSteps = 4

// pipeline is a parsed transform.
type pipeline struct {
	steps [maxSteps]Transform
	n     int
	cut   cutKind
	size  int // of a prefix or a suffix: bits of an IPv4 address, otherwise characters
}

// ParseTransform returns the transform of that text, or [ErrTransform]. A text has one spelling: no spaces, no leading
// zeros.
func ParseTransform(text string) (Transform, error) {
	if _, ok := parse(Transform(text)); !ok {
		return "", fmt.Errorf("parsing transform %q: %w", text, ErrTransform)
	}
	return Transform(text), nil
}

// Compose returns the transform that applies steps in order and then the cut, which may be empty ("prefix/24").
func Compose(steps []string, cut string) (Transform, error) {
	text := strings.Join(steps, "+")
	if cut != "" {
		text += "|" + cut
	}
	return ParseTransform(text)
}

func parse(t Transform) (p pipeline, ok bool) {
	chain, cut, hasCut := strings.Cut(string(t), "|")
	for more := true; more; p.n++ {
		var step string
		step, chain, more = strings.Cut(chain, "+")
		if p.n == maxSteps || !p.mayFollow(Transform(step)) {
			return p, false
		}
		p.steps[p.n] = Transform(step)
	}
	if hasCut && !p.parseCut(cut) {
		return p, false
	}
	return p, true
}

// mayFollow reports whether a step can stand behind those that p has. An address has one spelling already, so nothing
// follows it, and nothing but Trim can come before it.
func (p *pipeline) mayFollow(step Transform) bool {
	if p.n > 0 && (p.last() == IP || p.last() == step) {
		return false
	}
	switch step {
	case Text, CaseFold, Digits, Alnum, Trim:
		return true
	case IP:
		return p.n == 0 || p.n == 1 && p.steps[0] == Trim
	}
	return false
}

func (p *pipeline) last() Transform { return p.steps[p.n-1] }

func (p *pipeline) has(step Transform) bool {
	for _, s := range p.steps[:p.n] {
		if s == step {
			return true
		}
	}
	return false
}

// parseCut reads what follows "|". A domain needs its @, which Digits and Alnum drop.
func (p *pipeline) parseCut(text string) bool {
	kind, size, sized := strings.Cut(text, "/")
	var most int
	switch {
	case kind == "prefix" && p.last() == IP:
		p.cut, most = cutNetwork, 32
	case kind == "prefix":
		p.cut, most = cutPrefix, maxCut
	case kind == "last" && p.last() != IP:
		p.cut, most = cutLast, maxCut
	case kind == "domain" && !sized:
		p.cut = cutDomain
		return !p.has(IP) && !p.has(Digits) && !p.has(Alnum)
	default:
		return false
	}
	n, err := strconv.Atoi(size)
	p.size = n
	return sized && err == nil && n >= 1 && n <= most && strconv.Itoa(n) == size
}

// Normalise returns the normal form of value, never empty: what the token is made of. It returns, wrapped, [ErrEmpty],
// [ErrUTF8], [ErrAddress], [ErrPart] or [ErrTransform].
func (t Transform) Normalise(value string) (string, error) {
	var room [64]byte
	normal, err := t.AppendNormal(room[:0], value)
	if err != nil {
		return "", err
	}
	if string(normal) == value {
		return value, nil
	}
	return string(normal), nil
}

// AppendNormal appends the normal form of value to dst, as [Transform.Normalise] returns it, and on error returns dst
// as it was. Addresses, ASCII, text that is in NFC already and digits take no memory besides dst.
func (t Transform) AppendNormal(dst []byte, value string) ([]byte, error) {
	p, ok := parse(t)
	if !ok {
		if value != "" && !utf8.ValidString(value) {
			return dst, fmt.Errorf("normalising value: %w", ErrUTF8)
		}
		return dst, fmt.Errorf("normalising value: %w", ErrTransform)
	}
	return p.appendNormal(dst, value)
}

func (p *pipeline) appendNormal(dst []byte, value string) ([]byte, error) {
	normal, err := p.appendChain(dst, value)
	if err == nil && len(normal) == len(dst) {
		err = ErrEmpty
	}
	if err == nil {
		normal, err = p.appendPart(normal, len(dst))
	}
	if err != nil && !utf8.ValidString(value) {
		err = ErrUTF8
	}
	if err != nil {
		return dst, fmt.Errorf("normalising value: %w", err)
	}
	return normal, nil
}

// appendChain applies the steps, each to what the one before left. A Trim in front takes no memory; other chains take a
// copy a step.
func (p *pipeline) appendChain(dst []byte, value string) ([]byte, error) {
	steps := p.steps[:p.n]
	if len(steps) > 1 && steps[0] == Trim {
		value, steps = strings.TrimSpace(value), steps[1:]
	}
	if p.cut == cutNetwork {
		return appendNetwork(dst, value, p.size)
	}
	begin := len(dst)
	out, err := appendStep(dst, steps[0], value)
	for _, step := range steps[1:] {
		if err != nil {
			break
		}
		before := string(out[begin:])
		clear(out[begin:])
		out, err = appendStep(out[:begin], step, before)
	}
	return out, err
}

// moveDown replaces buf[begin:end] by what stands behind it, and clears what it no longer uses: it held a value.
func moveDown(buf []byte, begin, end int) []byte {
	n := copy(buf[begin:], buf[end:])
	clear(buf[begin+n:])
	return buf[:begin+n]
}

func appendStep(dst []byte, step Transform, value string) ([]byte, error) {
	if value == "" {
		return dst, nil
	}
	switch step {
	case IP:
		return appendAddress(dst, value)
	case Text:
		return appendText(dst, value)
	case CaseFold:
		return appendFolded(dst, value)
	case Digits:
		return appendDigits(dst, value)
	case Alnum:
		return appendAlnum(dst, value)
	case Trim:
		return appendTrimmed(dst, value)
	}
	return dst, ErrTransform
}
