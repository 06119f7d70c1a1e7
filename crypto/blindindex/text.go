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

// appendFolded folds the decomposed text, because folding a composed one can leave an iota subscript (U+0345) out of
// order: Unicode's D145 prescribes NFD for that reason.
func appendFolded(dst []byte, value string) ([]byte, error) {
	if isASCII(value) {
		return appendLower(dst, strings.TrimSpace(value)), nil
	}
	if !utf8.ValidString(value) {
		return dst, ErrUTF8
	}
	folded := cases.Fold().String(norm.NFD.String(value))
	return append(dst, strings.TrimSpace(norm.NFC.String(folded))...), nil
}

// appendLower appends ASCII text in lower case, which for ASCII is full case folding.
func appendLower(dst []byte, ascii string) []byte {
	for i := range len(ascii) {
		c := ascii[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
