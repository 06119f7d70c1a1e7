package dataset

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// field is a member prepared for reading: what a definition says in texts is parsed here, once.
type field struct {
	*Member
	plain             bool   // a text that is held to its length alone
	whole             bool   // a json: kept as its JSON text
	kinds             string // the JSON types it may have, as jsontext.Kind
	pattern           *regexp.Regexp
	enum              map[string]bool
	nothing           map[string]bool // as listed
	leastInt, mostInt int64
	hasLeast, hasMost bool
	leastAt, mostAt   time.Time
}

func newField(m *Member) field {
	f := field{Member: m, hasLeast: m.Least != "", hasMost: m.Most != ""}
	if m.Pattern != "" {
		f.pattern, _ = compilePattern(m.Pattern) // Parse compiled it, too.
	}
	if m.Enum != nil {
		f.enum = setOf(m.Enum)
	}
	if m.Protect != nil && len(m.Protect.Nothing) > 0 {
		f.nothing = setOf(m.Protect.Nothing)
	}
	f.plain = m.Type == Text && m.Pattern == "" && f.enum == nil && f.nothing == nil
	f.whole, f.kinds = m.Type == JSON, kindsOf(m.Type)
	switch m.Type {
	case Integer:
		f.leastInt, _ = parseInteger([]byte(m.Least))
		f.mostInt, _ = parseInteger([]byte(m.Most))
	case Timestamp:
		f.leastAt, _ = parseTimestamp([]byte(m.Least))
		f.mostAt, _ = parseTimestamp([]byte(m.Most))
	}
	return f
}

func setOf(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return set
}

// check holds a value that is there, and not null, to the definition. It appends the canonical form to room, and
// where the text is that form already, lets it be the text. nul says that some value of the event holds U+0000: only
// then each is looked at.
func (f *field) check(v *Value, room []byte, nul bool) ([]byte, Reason) {
	if f.kinds[0] != byte(v.Kind) && strings.IndexByte(f.kinds, byte(v.Kind)) < 0 {
		return room, WrongType
	}
	if f.whole {
		return room, f.checkJSON(v)
	}
	v.Canonical = v.Text
	switch {
	case nul && bytes.IndexByte(v.Text, 0) >= 0:
		return room, NUL
	case f.nothing != nil && v.Kind == jsontext.KindString && f.nothing[string(v.Text)]:
		v.Nothing = true
		return room, ""
	case f.Max > 0 && len(v.Text) > f.Max && utf8.RuneCount(v.Text) > f.Max:
		return room, TooLong
	case len(v.Text) == 0 && f.Required:
		return room, MissingField
	case len(v.Text) < 4*f.Min && utf8.RuneCount(v.Text) < f.Min:
		return room, TooShort
	}
	if f.plain {
		return room, ""
	}
	room, reason := f.read(v, room)
	if reason == "" && f.enum != nil && !f.enum[string(v.Canonical)] {
		reason = NotListed
	}
	return room, reason
}

// kindsOf are the JSON types that a member's type allows.
func kindsOf(t Type) string {
	const (
		text, number = string(jsontext.KindString), string(jsontext.KindNumber)
		boolean      = string(jsontext.KindTrue) + string(jsontext.KindFalse)
		nested       = string(jsontext.KindBeginArray) + string(jsontext.KindBeginObject)
	)
	switch t {
	case JSON:
		return text + number + boolean + nested
	case Integer:
		return number
	case Boolean:
		return boolean
	case Version, Decimal:
		return text + number
	}
	return text
}

// read reads a text by its type.
func (f *field) read(v *Value, room []byte) ([]byte, Reason) {
	begin, ok := len(room), true
	switch f.Type {
	case Text:
		if f.pattern != nil && !f.pattern.Match(v.Text) {
			return room, NoMatch
		}
		return room, ""
	case Boolean:
		return room, ""
	case Version:
		if v.Version, ok = parseVersion(v.Text); !ok {
			return room, BadVersion
		}
		v.HasVersion = true
		return room, ""
	case Integer:
		n, ok := parseInteger(v.Text)
		if !ok {
			return room, BadFormat
		}
		if f.hasLeast && n < f.leastInt || f.hasMost && n > f.mostInt {
			return room, OutOfRange
		}
		room = strconv.AppendInt(room, n, 10)
	case Decimal:
		var whole, fraction int
		if room, whole, fraction, ok = appendDecimal(room, v.Text); !ok {
			return room, BadFormat
		}
		n := stringOf(room[begin:])
		if whole > f.Precision-f.Scale || fraction > f.Scale ||
			f.hasLeast && compareDecimals(n, f.Least) < 0 || f.hasMost && compareDecimals(n, f.Most) > 0 {
			return room[:begin], OutOfRange
		}
	case Date:
		if !validDate(v.Text) {
			return room, BadFormat
		}
		if day := stringOf(v.Text); f.hasLeast && day < f.Least || f.hasMost && day > f.Most {
			return room, OutOfRange
		}
		return room, ""
	case Timestamp:
		at, ok := parseTimestamp(v.Text)
		if !ok {
			return room, BadFormat
		}
		if f.hasLeast && at.Before(f.leastAt) || f.hasMost && at.After(f.mostAt) {
			return room, OutOfRange
		}
		room = appendTimestamp(room, at)
	case UUID:
		if room, ok = appendUUID(room, v.Text); !ok {
			return room, BadFormat
		}
	case IP:
		addr, ok := parseIP(v.Text)
		if !ok {
			return room, BadIP
		}
		if f.Protect != nil {
			return room, "" // The token's transform writes it in its one form.
		}
		room = addr.AppendTo(room)
	}
	// Later appends may move the room: the slice then keeps the old one, which holds the same bytes.
	v.Canonical = room[begin:len(room):len(room)]
	return room, ""
}

// What jsonb can hold: Postgres reads it by recursion, and a number into a numeric.
const (
	maxClearDepth  = 100
	maxClearNumber = 1000
)

// checkJSON looks at a JSON text that was read strictly. Sealed, it is bytes; in clear, jsonb must be able to hold it.
func (f *field) checkJSON(v *Value) Reason {
	v.Canonical = v.Text
	if len(v.Text) > f.Max && utf8.RuneCount(v.Text) > f.Max {
		return TooLong
	}
	if f.Protect != nil {
		return ""
	}
	depth := 0
	for i := 0; i < len(v.Text); i++ {
		switch c := v.Text[i]; {
		case c == '[' || c == '{':
			if depth++; depth > maxClearDepth {
				return TooDeep
			}
		case c == ']' || c == '}':
			depth--
		case c == '"':
			end, nul := skipString(v.Text, i)
			if nul {
				return NUL
			}
			i = end
		case c == '-' || '0' <= c && c <= '9':
			end := i
			for end < len(v.Text) && bytes.IndexByte([]byte("+-.eE0123456789"), v.Text[end]) >= 0 {
				end++
			}
			if !fitsNumeric(v.Text[i:end]) {
				return OutOfRange
			}
			i = end - 1
		}
	}
	return ""
}

// skipString returns where a JSON string ends that begins at i, and whether it holds U+0000.
func skipString(text []byte, i int) (end int, nul bool) {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
			nul = nul || bytes.HasPrefix(text[i:], []byte("u0000"))
		}
	}
	return i, nul
}

// fitsNumeric reports whether numeric can hold a JSON number: it has 131072 digits before the point and 16383 behind.
func fitsNumeric(number []byte) bool {
	mantissa, exponent, _ := bytes.Cut(number, []byte("e"))
	if m, e, upper := bytes.Cut(number, []byte("E")); upper {
		mantissa, exponent = m, e
	}
	n := 0
	if len(exponent) > 0 {
		var err error
		if n, err = strconv.Atoi(stringOf(exponent)); err != nil {
			return false
		}
	}
	return len(mantissa) <= maxClearNumber && -maxClearNumber <= n && n <= maxClearNumber
}
