package cli

import (
	"encoding/json"
	"io"
)

// PrintJSON writes v for people and programs: indented, and nothing escaped for HTML.
func PrintJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}
