// Package secret holds key bytes and personal data so that they cannot be printed by accident.
//
// A value prints as [redacted] under every verb of package fmt, in log/slog and in JSON. fmt calls no method on
// an unexported field of a struct, and a verb that does not suit a pointer ("%s") makes it follow that pointer
// once: so the bytes stand behind two pointers, of which it prints an address.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a secret prints.
const Redacted = "[redacted]"

// Bytes is a byte string that must not be printed. The zero value is empty. Copies share the same bytes.
type Bytes struct{ p **[]byte }

// New takes ownership of b: Destroy zeroes it, and the caller keeps no other copy.
func New(b []byte) Bytes {
	p := &b
	return Bytes{p: &p}
}

// Expose gives the bytes themselves. The caller does not keep them beyond the secret's own life.
func (s Bytes) Expose() []byte {
	if s.p == nil {
		return nil
	}
	return **s.p
}

// Len is the number of bytes.
func (s Bytes) Len() int { return len(s.Expose()) }

// Destroy zeroes the bytes and empties the secret and every copy of it.
func (s Bytes) Destroy() {
	if s.p == nil {
		return
	}
	clear(**s.p)
	**s.p = nil
}

// Format, String and the methods below print [redacted].
func (s Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

func (s Bytes) String() string { return Redacted }

func (s Bytes) GoString() string { return Redacted }

func (s Bytes) LogValue() slog.Value { return slog.StringValue(Redacted) }

func (s Bytes) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

func (s Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }
