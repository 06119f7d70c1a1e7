package blindindex

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Format writes [redacted], whatever the verb.
//
// It is not called for a subkey in another type's unexported field: there fmt walks structs and interfaces, and
// pointers too where the verb does not suit them (%s of a pointer prints what it points to). It stops at functions,
// and so do a subkey and a hasher.
func (Subkey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Subkey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes [redacted], whatever the verb.
func (Hasher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Hasher) MarshalText() ([]byte, error) { return []byte(redacted), nil }
