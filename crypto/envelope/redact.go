package envelope

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Format writes [redacted], whatever the verb.
//
// It is not called for a key in another type's unexported field: there fmt walks structs and interfaces, and pointers
// too where the verb does not suit them (%s of a pointer prints what it points to). It stops at functions, and so
// does the key.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
