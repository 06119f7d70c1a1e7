package rotation

import (
	"database/sql/driver"
	"encoding/hex"
)

// byteArray is a bytea[] parameter. Unlike pq.ByteaArray, which turns nil into an empty value, it writes nil as NULL.
type byteArray [][]byte

// Value is the array as Postgres reads it.
func (a byteArray) Value() (driver.Value, error) {
	size := 2
	for _, b := range a {
		size += 2*len(b) + len(`"\\x",`)
	}
	out := append(make([]byte, 0, size), '{')
	for i, b := range a {
		if i > 0 {
			out = append(out, ',')
		}
		if b == nil {
			out = append(out, "NULL"...)
			continue
		}
		out = append(out, `"\\x`...)
		out = hex.AppendEncode(out, b)
		out = append(out, '"')
	}
	return string(append(out, '}')), nil
}

// tokenArray is a text[] of tokens, which need no quotes; an empty one is NULL.
type tokenArray []string

// Value is the array as Postgres reads it.
func (a tokenArray) Value() (driver.Value, error) {
	out := append(make([]byte, 0, 2+24*len(a)), '{')
	for i, token := range a {
		if i > 0 {
			out = append(out, ',')
		}
		if token == "" {
			token = "NULL"
		}
		out = append(out, token...)
	}
	return string(append(out, '}')), nil
}

// textArray holds ids or dates, which need no quotes either.
type textArray []string

// Value is the array as Postgres reads it.
func (a textArray) Value() (driver.Value, error) {
	out := append(make([]byte, 0, 2+38*len(a)), '{')
	for i, text := range a {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, text...)
	}
	return string(append(out, '}')), nil
}
