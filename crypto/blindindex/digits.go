package blindindex

import (
	"unicode"
	"unicode/utf8"
)

func appendDigits(dst []byte, value string) ([]byte, error) {
	begin := len(dst)
	for i, r := range value {
		switch {
		case '0' <= r && r <= '9':
			dst = append(dst, byte(r))
		case r < utf8.RuneSelf:
		case r == utf8.RuneError && !utf8.ValidString(value[i:]):
			return dst[:begin], ErrUTF8
		default:
			if d, ok := decimalDigit(r); ok {
				dst = append(dst, d)
			}
		}
	}
	return dst, nil
}

// decimalDigit returns the ASCII digit of r if r is in Nd. Unicode encodes the digits of each script as a run of ten
// from zero (The Unicode Standard, section 4.6), so that each range of the table begins at a zero.
func decimalDigit(r rune) (byte, bool) {
	if r <= 0xFFFF {
		for _, run := range unicode.Nd.R16 {
			if uint16(r) <= run.Hi {
				return digitIn(r, rune(run.Lo))
			}
		}
		return 0, false
	}
	for _, run := range unicode.Nd.R32 {
		if uint32(r) <= run.Hi {
			return digitIn(r, rune(run.Lo))
		}
	}
	return 0, false
}

func digitIn(r, zero rune) (byte, bool) {
	if r < zero {
		return 0, false
	}
	return byte('0' + (r-zero)%10), true
}
