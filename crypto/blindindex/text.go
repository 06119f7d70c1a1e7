package blindindex

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

func appendText(dst []byte, value string) ([]byte, error) {
	if isASCII(value) {
		return append(dst, strings.TrimSpace(value)...), nil
	}
	if !utf8.ValidString(value) {
		return dst, ErrUTF8
	}
	return append(dst, strings.TrimSpace(norm.NFC.String(value))...), nil
}

func appendTrimmed(dst []byte, value string) ([]byte, error) {
	if !utf8.ValidString(value) {
		return dst, ErrUTF8
	}
	return append(dst, strings.TrimSpace(value)...), nil
}

// fold has no state, and is safe for concurrent use.
var fold = cases.Fold()

// appendFolded folds the decomposed text, because folding a composed one can leave an iota subscript (U+0345) out of
// order: Unicode's D145 prescribes NFD for that reason.
func appendFolded(dst []byte, value string) ([]byte, error) {
	if isASCII(value) {
		return appendLower(dst, strings.TrimSpace(value)), nil
	}
	if !utf8.ValidString(value) {
		return dst, ErrUTF8
	}
	folded := fold.String(norm.NFD.String(value))
	folded = strings.Map(foldCherokee, folded)
	return append(dst, strings.TrimSpace(norm.NFC.String(folded))...), nil
}

// foldCherokee puts right what x/text does not: Cherokee alone folds to its capitals (CaseFolding.txt), and
// [cases.Fold] swaps capital and small instead.
func foldCherokee(r rune) rune {
	switch {
	case 0xAB70 <= r && r <= 0xABBF:
		return r - 0xAB70 + 0x13A0
	case 0x13F8 <= r && r <= 0x13FD:
		return r - 0x13F8 + 0x13F0
	}
	return r
}

// appendLower appends ASCII text in lower case, which for ASCII is full case folding.
func appendLower[T string | []byte](dst []byte, ascii T) []byte {
	for i := range len(ascii) {
		c := ascii[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
