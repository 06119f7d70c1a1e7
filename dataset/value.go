package dataset

import (
	"bytes"
	"cmp"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// This file reads values: their check and their one canonical form, which is what a clear column gets and what a
// token of a type other than text is made of.

// stringOf is b as a string that must not outlive it: no copy.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// compilePattern compiles a pattern that must match the whole value.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	// Compiled alone first, so that "a)(b" does not pass.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// formOf says how a value of the type is written.
func formOf(t Type) string {
	switch t {
	case Integer:
		return "write digits, with - before them or nothing"
	case Decimal:
		return "write a number such as 12.50"
	case Date:
		return "write it as 2026-01-31"
	case Timestamp:
		return "write it as 2026-01-31T10:00:00Z"
	}
	return ""
}

// canonicalBound is the canonical form of a bound that a definition names.
func canonicalBound(t Type, text string) (string, bool) {
	var out []byte
	var ok bool
	switch t {
	case Integer:
		var n int64
		n, ok = parseInteger([]byte(text))
		out = strconv.AppendInt(nil, n, 10)
	case Decimal:
		out, _, _, ok = appendDecimal(nil, []byte(text))
	case Date:
		ok = validDate([]byte(text))
		out = []byte(text)
	case Timestamp:
		var at time.Time
		at, ok = parseTimestamp([]byte(text))
		out = appendTimestamp(nil, at)
	}
	return string(out), ok
}

// compareValues orders two values in canonical form.
func compareValues(t Type, a, b string) int {
	switch t {
	case Integer:
		x, _ := strconv.ParseInt(a, 10, 64)
		y, _ := strconv.ParseInt(b, 10, 64)
		return cmp.Compare(x, y)
	case Decimal:
		return compareDecimals(a, b)
	case Timestamp:
		x, _ := parseTimestamp([]byte(a))
		y, _ := parseTimestamp([]byte(b))
		return x.Compare(y)
	}
	return strings.Compare(a, b)
}

// parseInteger reads a JSON number without fraction and exponent.
func parseInteger(text []byte) (int64, bool) {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(stringOf(text), 10, 64)
	return n, err == nil
}

// maxExponent bounds what is written out: 1e1000 has 1001 digits.
const maxExponent = 1000

// appendDecimal appends a JSON number without exponent, leading or trailing zeros: -0.50e1 is -5. It returns how many
// digits stand before the point, a lone zero not counted, and how many after.
func appendDecimal(dst, text []byte) (out []byte, whole, fraction int, ok bool) {
	rest := text
	negative := len(rest) > 0 && rest[0] == '-'
	if negative {
		rest = rest[1:]
	}
	integer, rest := cutDigits(rest)
	if len(integer) == 0 || integer[0] == '0' && len(integer) > 1 {
		return dst, 0, 0, false
	}
	var decimals []byte
	if len(rest) > 0 && rest[0] == '.' {
		if decimals, rest = cutDigits(rest[1:]); len(decimals) == 0 {
			return dst, 0, 0, false
		}
	}
	exponent, ok := parseExponent(rest)
	if !ok || len(text) > 2*maxExponent {
		return dst, 0, 0, false
	}
	begin := len(dst)
	if negative {
		dst = append(dst, '-')
	}
	// The digit at position i stands before the point if i < point.
	point, total := len(integer)+exponent, len(integer)+len(decimals)
	digit := func(i int) byte {
		switch {
		case i < 0 || i >= total:
			return '0'
		case i < len(integer):
			return integer[i]
		}
		return decimals[i-len(integer)]
	}
	first, end := 0, total
	for first < total && digit(first) == '0' {
		first++
	}
	for end > first && digit(end-1) == '0' {
		end--
	}
	if first == end {
		return append(dst[:begin], '0'), 0, 0, true
	}
	for i := min(first, point-1); i < point; i++ {
		if i >= first || i == point-1 {
			dst = append(dst, digit(i))
		}
	}
	whole = max(point-first, 0)
	if end > point {
		dst = append(dst, '.')
		for i := point; i < end; i++ {
			dst = append(dst, digit(i))
			fraction++
		}
	}
	return dst, whole, fraction, true
}

func cutDigits(text []byte) (digits, rest []byte) {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return text[:n], text[n:]
}

func parseExponent(text []byte) (int, bool) {
	if len(text) == 0 {
		return 0, true
	}
	if text[0] != 'e' && text[0] != 'E' || len(text) > 6 {
		return 0, false
	}
	sign, digits := 1, text[1:]
	if len(digits) > 0 && (digits[0] == '-' || digits[0] == '+') {
		if digits[0] == '-' {
			sign = -1
		}
		digits = digits[1:]
	}
	number, rest := cutDigits(digits)
	if len(number) == 0 || len(rest) > 0 {
		return 0, false
	}
	n := 0
	for _, c := range number {
		n = n*10 + int(c-'0')
	}
	return sign * n, n <= maxExponent
}

func compareDecimals(a, b string) int {
	x, y := strings.HasPrefix(a, "-"), strings.HasPrefix(b, "-")
	switch {
	case x && y:
		return compareDecimals(b[1:], a[1:])
	case x:
		return -1
	case y:
		return 1
	}
	wholeA, fractionA, _ := strings.Cut(a, ".")
	wholeB, fractionB, _ := strings.Cut(b, ".")
	return cmp.Or(cmp.Compare(len(wholeA), len(wholeB)), strings.Compare(wholeA, wholeB), strings.Compare(fractionA,
		fractionB))
}

// parseDate reads YYYY-MM-DD, of the years 1 to 9999.
func parseDate(text []byte) (year, month, day int, ok bool) {
	if len(text) != len(time.DateOnly) || text[4] != '-' || text[7] != '-' {
		return 0, 0, 0, false
	}
	year, ok1 := digits(text[:4])
	month, ok2 := digits(text[5:7])
	day, ok3 := digits(text[8:])
	ok = ok1 && ok2 && ok3 && year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month)
	return year, month, day, ok
}

func validDate(text []byte) bool {
	_, _, _, ok := parseDate(text)
	return ok
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// digits reads a number that is nothing but digits.
func digits(text []byte) (n int, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(text) > 0
}

// parseTimestamp reads a date and time as RFC 3339 has it, with a space for the T if need be. What goes beyond
// microseconds, which is all that Postgres keeps, is cut off. A second 60 is refused: Postgres would store another one.
// The result is in UTC, of the years 1 to 9999.
func parseTimestamp(text []byte) (time.Time, bool) {
	const shortest = len("2006-01-02T15:04:05Z")
	if len(text) < shortest {
		return time.Time{}, false
	}
	year, month, day, ok := parseDate(text[:10])
	hour, ok1 := digits(text[11:13])
	minute, ok2 := digits(text[14:16])
	second, ok3 := digits(text[17:19])
	if !ok || !ok1 || !ok2 || !ok3 || text[13] != ':' || text[16] != ':' || hour > 23 || minute > 59 || second > 59 ||
		text[10] != 'T' && text[10] != 't' && text[10] != ' ' {
		return time.Time{}, false
	}
	rest, micros := text[19:], 0
	if rest[0] == '.' {
		fraction, behind := cutDigits(rest[1:])
		if len(fraction) == 0 {
			return time.Time{}, false
		}
		for i := range 6 {
			if micros *= 10; i < len(fraction) {
				micros += int(fraction[i] - '0')
			}
		}
		rest = behind
	}
	offset, ok := parseOffset(rest)
	at := time.Date(year, time.Month(month), day, hour, minute-offset, second, micros*1000, time.UTC)
	return at, ok && at.Year() >= 1 && at.Year() <= 9999
}

// parseOffset reads Z, +hh:mm or -hh:mm, in minutes.
func parseOffset(text []byte) (int, bool) {
	if len(text) == 1 {
		return 0, text[0] == 'Z' || text[0] == 'z'
	}
	if len(text) != 6 || text[3] != ':' || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	hours, ok1 := digits(text[1:3])
	minutes, ok2 := digits(text[4:])
	offset := hours*60 + minutes
	if text[0] == '-' {
		offset = -offset
	}
	return offset, ok1 && ok2 && hours <= 23 && minutes <= 59
}

func appendTimestamp(dst []byte, at time.Time) []byte {
	return at.AppendFormat(dst, "2006-01-02T15:04:05.999999Z")
}

// appendUUID appends 32 hexadecimal digits, with the hyphens of RFC 9562 or without, in lower case and with hyphens.
func appendUUID(dst, text []byte) ([]byte, bool) {
	hyphens := len(text) == 36
	if !hyphens && len(text) != 32 {
		return dst, false
	}
	begin, count := len(dst), 0
	for i, c := range text {
		if hyphens && (i == 8 || i == 13 || i == 18 || i == 23) {
			if c != '-' {
				return dst[:begin], false
			}
			continue
		}
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f':
		case 'A' <= c && c <= 'F':
			c += 'a' - 'A'
		default:
			return dst[:begin], false
		}
		if count == 8 || count == 12 || count == 16 || count == 20 {
			dst = append(dst, '-')
		}
		dst = append(dst, c)
		count++
	}
	return dst, true
}

// parseIP reads an address as the transform ip of package blindindex does: no zone, and IPv4 mapped to IPv6 is IPv4.
func parseIP(text []byte) (netip.Addr, bool) {
	if bytes.IndexByte(text, '%') >= 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(stringOf(text))
	return addr.Unmap(), err == nil
}
