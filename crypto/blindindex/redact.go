package blindindex

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Format writes [redacted], whatever the verb.
func (Subkey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Subkey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes [redacted], whatever the verb.
func (Hasher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Hasher) MarshalText() ([]byte, error) { return []byte(redacted), nil }
