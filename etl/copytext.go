package etl

import (
	"encoding/hex"
	"strconv"
)

// The text format of COPY: fields apart by tabs, rows by newlines, \N for NULL, a backslash before
// what would be mistaken for one of these (Postgres documentation, "COPY", "Text Format"). lib/pq
// has no binary COPY.

// appendCopyText appends a text field.
func appendCopyText(dst, text []byte) []byte {
	for i, c := range text {
		switch c {
		case '\\', '\t', '\n', '\r':
			return appendEscaped(append(dst, text[:i]...), text[i:])
		}
	}
	return append(dst, text...)
}

func appendEscaped(dst, text []byte) []byte {
	for _, c := range text {
		switch c {
		case '\\':
			dst = append(dst, '\\', '\\')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendCopyBytes appends a bytea field in hex: \x, whose backslash is escaped, and two digits a
// byte.
func appendCopyBytes(dst, b []byte) []byte {
	return hex.AppendEncode(append(dst, `\\x`...), b)
}

func appendCopyNull(dst []byte) []byte { return append(dst, `\N`...) }

func appendCopyInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// appendCopyUUID appends a UUID as 32 hexadecimal digits, which Postgres reads.
func appendCopyUUID(dst []byte, id [16]byte) []byte { return hex.AppendEncode(dst, id[:]) }
