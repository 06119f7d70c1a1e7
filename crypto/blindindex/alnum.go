package blindindex

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// appendAlnum filters the case-folded text, and folds the result again: without the punctuation between them, a letter
// and a mark may compose.
func appendAlnum(dst []byte, value string) ([]byte, error) {
	if isASCII(value) {
		begin := len(dst)
		if dst = appendASCIIAlnum(dst, value); len(dst) > begin {
			return dst, nil
		}
		return appendFolded(dst, value)
	}
	if !utf8.ValidString(value) {
		return dst, ErrUTF8
	}
	folded, err := appendFolded(nil, value)
	if err != nil {
		return dst, err
	}
	filtered := strings.Map(keepAlnum, string(folded))
	if filtered == "" {
		return append(dst, folded...), nil
	}
	return appendFolded(dst, filtered)
}

func appendASCIIAlnum(dst []byte, ascii string) []byte {
	for i := range len(ascii) {
		switch c := ascii[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			dst = append(dst, c)
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c+'a'-'A')
		}
	}
	return dst
}

// keepAlnum is for strings.Map: the character, its ASCII digit, or -1 to drop it. Marks are kept, because in many
// scripts they are the vowels.
func keepAlnum(r rune) rune {
	if digit, ok := decimalDigit(r); ok {
		return rune(digit)
	}
	if unicode.In(r, unicode.L, unicode.M, unicode.N) {
		return r
	}
	return -1
}
