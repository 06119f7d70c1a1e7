package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Text writes a string so that a terminal shows all of it and obeys none of it. What people typed,
// what a vault's row holds and what a server answers arrives here: a control character would move
// the cursor, fake a second line or, as U+009B, begin a command; U+202E and its like would turn
// round what follows. They become \u escapes, and bytes that are not UTF-8 become \x escapes.
func Text(s string) string { return escape(s, "") }

// escape escapes what is not printable, but for the characters in keep.
func escape(s, keep string) string {
	if clean(s, keep) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r > 0xffff: // as JSON writes it
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

func clean(s, keep string) bool {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) && !strings.ContainsRune(keep, r) {
			return false
		}
		i += size
	}
	return true
}

// Printf is fmt.Fprintf for people: what strings, errors and Stringers among args hold goes through
// Text.
func Printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, texts(args)...)
}

func texts(args []any) []any {
	shown := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			shown[i] = Text(v)
		case error:
			shown[i] = Text(v.Error())
		case fmt.Stringer:
			shown[i] = Text(v.String())
		case []string:
			shown[i] = Text(strings.Join(v, ", "))
		default:
			shown[i] = arg
		}
	}
	return shown
}

// stream is standard output or standard error, with a guard: whatever is written, nothing but line
// ends and tabs commands the terminal. Within JSON the escapes are JSON's own, so that its meaning
// stays. A progress line is taken off before anything else is written.
type stream struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // the beginning of a character whose end has not been written yet
	line bool   // a progress line stands on the terminal
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeOffLine()
	text := append(s.rest, p...)
	whole := len(text)
	for i := 1; i <= min(utf8.UTFMax-1, len(text)); i++ {
		if utf8.RuneStart(text[len(text)-i]) {
			if !utf8.FullRune(text[len(text)-i:]) {
				whole = len(text) - i
			}
			break
		}
	}
	s.rest = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(s.w, escape(string(text[:whole]), "\n\t")); err != nil {
		return 0, err
	}
	return len(p), nil
}

// draw replaces the progress line; an empty text takes it off.
func (s *stream) draw(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeOffLine()
	if text != "" {
		_, _ = io.WriteString(s.w, escape(text, ""))
		s.line = true
	}
}

func (s *stream) takeOffLine() {
	if s.line {
		_, _ = io.WriteString(s.w, "\r\x1b[K")
		s.line = false
	}
}

// Raw is the writer under the guard, for bytes that must go out as they are: sealed files, values
// down a pipe.
func Raw(w io.Writer) io.Writer {
	if s, ok := w.(*stream); ok {
		return s.w
	}
	return w
}

// IsTerminal reports whether a command's input or output is a terminal.
func IsTerminal(end any) bool {
	if s, ok := end.(*stream); ok {
		end = s.w
	}
	f, ok := end.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// PrintJSON writes v for people and programs: indented, nothing escaped for HTML.
func PrintJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// PrintJSONLine writes v on one line.
func PrintJSONLine(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// Note tells people something beside the result, on standard error. With --log-format json it is a
// log line.
func Note(cmd *cobra.Command, format string, args ...any) {
	text := fmt.Sprintf(format, texts(args)...)
	if logsJSON(cmd) {
		logger(cmd).Info(text)
		return
	}
	_, _ = fmt.Fprintln(cmd.ErrOrStderr(), text)
}

// Table collects rows and prints them in columns.
type Table struct{ rows [][]string }

// NewTable begins a table with its heads.
func NewTable(heads ...string) *Table { return &Table{rows: [][]string{heads}} }

// Row adds a row. Cells are printed as by Printf with %v; nil is an empty cell.
func (t *Table) Row(cells ...any) {
	var row []string
	for _, cell := range texts(cells) {
		if cell == nil {
			cell = ""
		}
		row = append(row, fmt.Sprint(cell))
	}
	t.rows = append(t.rows, row)
}

// Print writes the table, columns two spaces apart.
func (t *Table) Print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		_, _ = fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}

// Bytes writes a number of bytes for people: 512 B, 1.5 MiB.
func Bytes(n int64) string {
	for _, unit := range sizes {
		if n >= unit.bytes && unit.bytes > 1 {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.bytes), unit.suffix)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// Count is a number and its noun: 1 row, 2 rows. A plural that is not made with an s is given.
func Count[T int | int32 | int64 | uint32 | uint64](n T, noun string, plural ...string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case len(plural) > 0:
		return fmt.Sprintf("%d %s", n, plural[0])
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Time is a point in time for people: 2026-11-28 02:36:15 UTC.
func Time(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// Minute is a point in time in a column whose head says UTC: 2026-11-28 02:36.
func Minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// Age is how long ago something was, in the unit a reader would use.
func Age(at time.Time) string {
	switch d := time.Since(at); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d/day))
	}
}
