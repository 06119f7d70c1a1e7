package blindindex

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Transform is how a field's values are normalised before their token is made. Its text is part of the key
// derivation: it never changes.
type Transform string

// The transforms. Each is idempotent: normalising what is normalised changes nothing.
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
)

// Why a value has no token. None says anything of the value.
var (
	// ErrTransform reports the name of no transform.
	ErrTransform = errors.New("unknown transform: want ip, text, casefold or digits")
	// ErrEmpty reports a value of which normalising leaves nothing.
	ErrEmpty = errors.New("value is empty")
	// ErrUTF8 reports a value that is not valid UTF-8.
	ErrUTF8 = errors.New("value is not valid UTF-8")
	// ErrAddress reports a value that is no IP address.
	ErrAddress = errors.New("value is not an IP address")
)

// ParseTransform returns the transform of that name, or [ErrTransform].
func ParseTransform(name string) (Transform, error) {
	switch t := Transform(name); t {
	case IP, Text, CaseFold, Digits:
		return t, nil
	}
	return "", fmt.Errorf("parsing transform %q: %w", name, ErrTransform)
}

// Normalise returns the normal form of value, never empty. It returns, wrapped, [ErrEmpty], [ErrUTF8], [ErrAddress]
// or [ErrTransform].
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
	normal, err := t.appendNormal(dst, value)
	if err == nil && len(normal) == len(dst) {
		err = ErrEmpty
	}
	if err != nil && !utf8.ValidString(value) {
		err = ErrUTF8
	}
	if err != nil {
		return dst, fmt.Errorf("normalising value: %w", err)
	}
	return normal, nil
}

func (t Transform) appendNormal(dst []byte, value string) ([]byte, error) {
	if value == "" {
		return dst, nil
	}
	switch t {
	case IP:
		return appendAddress(dst, value)
	case Text:
		return appendText(dst, value)
	case CaseFold:
		return appendFolded(dst, value)
	case Digits:
		return appendDigits(dst, value)
	}
	return dst, ErrTransform
}
