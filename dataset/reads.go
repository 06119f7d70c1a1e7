package dataset

import (
	"bytes"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// anyOf are fields without limits, one of each type.
var anyOf = sync.OnceValue(func() map[Type]*field {
	out := map[Type]*field{}
	for _, t := range types {
		out[t] = &field{
			Member: &Member{Type: t, Max: maxJSON, Precision: 2 * maxExponent, Scale: maxExponent},
			plain:  t == Text, whole: t == JSON, kinds: kindsOf(t),
		}
	}
	return out
})

// Reads reports whether a value could be one of the type, limits of a definition aside. kind is the value's JSON type;
// text is a string decoded, any other value as its JSON text.
func Reads(t Type, kind jsontext.Kind, text []byte) bool {
	v := Value{Kind: kind, Text: text}
	_, reason := anyOf()[t].check(&v, nil, bytes.IndexByte(text, 0) >= 0)
	return reason == ""
}

// Digits counts the digits of a decimal before its point, a lone zero not counted, and after it.
func Digits(text []byte) (whole, fraction int, ok bool) {
	_, whole, fraction, ok = appendDecimal(nil, text)
	return whole, fraction, ok
}
