package recovercmd

import (
	"fmt"
	"strings"
	"unicode"
)

// visible writes text so that a terminal shows all of it and obeys none of it: control characters, and those that hide
// or turn round what follows, become \u escapes. What people typed and what attackers logged in with arrives here.
func visible(text string) string {
	clean := true
	for _, r := range text {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			clean = false
			break
		}
	}
	if clean {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == unicode.ReplacementChar && text[i] != 0xef: // a byte that is no UTF-8
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
