package envelope

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Format writes [redacted], whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
