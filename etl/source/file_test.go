package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/etl/source"
	"cloakroom/internal/events"
	"cloakroom/keys/keystest"
)

// write makes a file with a modification date of its own.
func write(t *testing.T, text string, modified time.Time) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
	return path
}

// read opens a source without a vault and gives the bodies it hands over, and how it ends.
func read(t *testing.T, in io.Reader) ([]string, error) {
	t.Helper()
	f, closeFile, err := source.OpenFile(t.Context(), nil, source.FileOptions{Path: "-", Name: "n", Date: "2026-07-01", Stdin: in, DryRun: true})
	if err != nil {
		return nil, err
	}
	defer closeFile()
	var bodies []string
	for {
		messages, err := f.Receive(t.Context())
		for _, m := range messages {
			bodies = append(bodies, string(m.Body))
		}
		if err == io.EOF {
			return bodies, nil
		}
		if err != nil {
			return bodies, err
		}
	}
}

func TestFileEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"space", " \n\r\n\t", nil},
		{"lines", "{\"a\":1}\n{}\n", []string{`{"a":1}`, `{}`}},
		{"no newline at the end", "{}\n{\"a\":1}", []string{`{}`, `{"a":1}`}},
		// A rejection seals the bytes as they were received, so nothing is taken off a line but its
		// newline.
		{"CRLF", "{}\r\n[1]\r\n", []string{"{}\r", "[1]\r"}},
		{"blank lines", "\n\n{}\n \t\r\n\n{}\n\n", []string{`{}`, `{}`}},
		{"indented", "  {} \n\t{}\t", []string{"  {} ", "\t{}\t"}},
		{"indented behind blank lines and a byte order mark", "\ufeff\n \r\n\t hello \r\n", []string{"\t hello \r"}},
		{"lines that are no JSON", "{}\nhello\n\"x\n{}", []string{`{}`, `hello`, `"x`, `{}`}},
		{"other space is no space", "{}\n\u00a0\n\v{}\n", []string{`{}`, "\u00a0", "\v{}"}},
		{"lines behind a byte order mark", "\ufeff{}\n{}", []string{`{}`, `{}`}},
		{"a byte order mark alone", "\ufeff", nil},
		{"a second byte order mark is no space", "\ufeff\ufeff{}", []string{"\ufeff{}"}},
		{"array", " [ {\"a\" : 1} ,\n{},\"x\",null,[2] ] \n", []string{`{"a" : 1}`, `{}`, `"x"`, `null`, `[2]`}},
		{"empty array", "[]", nil},
		{"array behind a byte order mark", "\ufeff[{}]", []string{`{}`}},
		{"duplicates and bad UTF-8 are the decoder's to judge", "[{\"a\":1,\"a\":2},\"\xff\",\"\\ud800\"]", []string{"{\"a\":1,\"a\":2}", "\"\xff\"", `"\ud800"`}},
	} {
		for way, in := range map[string]io.Reader{
			"at once": strings.NewReader(test.text), "byte by byte": iotest.OneByteReader(strings.NewReader(test.text)),
		} {
			got, err := read(t, in)
			if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
				t.Errorf("%s, %s: %q (%v), want %q", test.name, way, got, err, test.want)
			}
		}
	}
}

func TestFileThatBreaks(t *testing.T) {
	t.Parallel()
	unplugged := errors.New("unplugged")
	long := strings.Repeat("x", events.MaxEvent)
	for _, test := range []struct {
		name string
		in   io.Reader
		want string // of the error
		n    int    // events before it
	}{
		{"array cut off after a comma", strings.NewReader(`[{},{},`), "no complete JSON array", 2},
		{"array cut off within an event", strings.NewReader(`[{},{"a`), "no complete JSON array", 1},
		{"array not closed", strings.NewReader(`[{},{}`), "no complete JSON array", 2},
		{"array without a comma", strings.NewReader(`[{} {}]`), "no complete JSON array", 1},
		{"array with a comma at its end", strings.NewReader(`[{},]`), "no complete JSON array", 1},
		{"something behind the array", strings.NewReader(`[{}] {}`), "something follows the JSON array", 1},
		{"a second array", strings.NewReader(`[{}][{}]`), "something follows the JSON array", 1},
		{"garbage behind the array", strings.NewReader(`[{}]x`), "something follows the JSON array", 1},
		{"line as long as can be, and longer", strings.NewReader(long + "\n" + long + "x\n"), "longer than 16 MiB", 1},
		{"array with a long element", strings.NewReader(`[{},"` + long + `"]`), "longer than 16 MiB", 1},
		{"array with an endless element", io.MultiReader(strings.NewReader(`[{},"`), endless{}), "longer than 16 MiB", 1},
		{"endless line", io.MultiReader(strings.NewReader("{}\n"), endless{}), "longer than 16 MiB", 1},
		// Half a line is no event: a later run would find its place taken by a rejection.
		{"lines that cannot be read on", io.MultiReader(strings.NewReader("{}\n{\"a\":"), iotest.ErrReader(unplugged)), "unplugged", 1},
		{"array that cannot be read on", io.MultiReader(strings.NewReader(`[{},{"a":`), iotest.ErrReader(unplugged)), "unplugged", 1},
	} {
		got, err := read(t, test.in)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(got) != test.n {
			t.Errorf("%s: %d events and %v, want %d and %q", test.name, len(got), err, test.n, test.want)
		}
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestFileOptionsAreRefused(t *testing.T) {
	t.Parallel()
	pipe, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer writer.Close()
	for _, test := range []struct {
		name string
		o    source.FileOptions
		want string
	}{
		{"standard input without a name", source.FileOptions{Path: "-", Date: "2026-07-01"}, "need --source NAME and --date"},
		{"standard input without a date", source.FileOptions{Path: "-", Name: "n"}, "need --source NAME and --date"},
		{"no such file", source.FileOptions{Path: "/nowhere/events"}, "no such file"},
		{"a directory", source.FileOptions{Path: t.TempDir()}, "is a directory"},
		{"a pipe without a name", source.FileOptions{Path: fmt.Sprintf("/dev/fd/%d", pipe.Fd()), Date: "2026-07-01"}, "--source NAME"},
		{"no date", source.FileOptions{Path: "-", Name: "n", Date: "yesterday"}, "want YYYY-MM-DD"},
		{"a date that is none", source.FileOptions{Path: "-", Name: "n", Date: "2026-02-30"}, "want YYYY-MM-DD"},
	} {
		test.o.DryRun = true
		test.o.Stdin = strings.NewReader("")
		if _, _, err := source.OpenFile(t.Context(), nil, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func lines(first, end int) string {
	var b strings.Builder
	for n := first; n < end; n++ {
		b.WriteString(etltest.LoginBody(n) + "\n")
	}
	return b.String()
}

func ingest(t *testing.T, w *etl.Writer, o source.FileOptions) (etl.Summary, error) {
	t.Helper()
	f, closeFile, err := source.OpenFile(context.Background(), w, o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFile()
	s, err := etl.Run(context.Background(), w, f, etl.Options{MaxOutage: 10 * time.Second})
	return s, err
}

// The same file stores once, today and tomorrow, whatever its modification date; its events keep
// the first run's date.
func TestSameFileStoresOnce(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	day := time.Date(2026, 7, 3, 23, 59, 59, 0, time.UTC)
	text := lines(0, 700)

	// 01:30 on the 4th in a zone two hours ahead is the 3rd in UTC.
	first, err := ingest(t, w, source.FileOptions{Path: write(t, text, day.In(time.FixedZone("", 7200)))})
	if err != nil || first.Stored != 700 {
		t.Fatalf("%+v, %v", first, err)
	}
	for name, o := range map[string]source.FileOptions{
		"the next day":  {Path: write(t, text, day.AddDate(0, 0, 1))},
		"with its date": {Path: write(t, text, day), Date: "2026-07-03"},
	} {
		if s, err := ingest(t, w, o); err != nil || s.Stored != 0 || s.Duplicates != 700 {
			t.Errorf("again, %s: %+v, %v", name, s, err)
		}
	}
	// Another date would be ignored: it is refused.
	_, _, err = source.OpenFile(t.Context(), w, source.FileOptions{Path: write(t, text, day), Date: "2026-05-05"})
	if err == nil || !strings.Contains(err.Error(), "fixed the date 2026-07-03") {
		t.Errorf("with another date: %v", err)
	}
	var dates []string
	if err := env.Open(t, "").Select(&dates, `SELECT DISTINCT create_date::text FROM cloakroom_data.user_logins`); err != nil {
		t.Fatal(err)
	}
	if len(dates) != 1 || dates[0] != "2026-07-03" {
		t.Errorf("dates %v, want 2026-07-03", dates)
	}
	// Under a name of its own, the same text is another source.
	if s, err := ingest(t, w, source.FileOptions{Path: write(t, text, day), Name: "other"}); err != nil || s.Stored != 700 {
		t.Errorf("as another source: %+v, %v", s, err)
	}
}

// What stands before the break is loaded; the mended file under the same name adds the rest.
func TestBrokenFileIsMended(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	var events [][]byte
	for n := range 900 {
		events = append(events, []byte(etltest.LoginBody(n)))
	}
	whole := "[" + string(bytes.Join(events, []byte(",\n"))) + "]"
	o := source.FileOptions{Path: "-", Name: "backfill", Date: "2026-07-03", Stdin: strings.NewReader(whole[:len(whole)*2/3])}
	s, err := ingest(t, w, o)
	if err == nil || !strings.Contains(err.Error(), "no complete JSON array") {
		t.Fatalf("the cut file: %v", err)
	}
	if s.Received < 500 || s.Stored != s.Received {
		t.Errorf("of the cut file: %+v, want all that was received stored", s)
	}
	o.Stdin = strings.NewReader(whole)
	again, err := ingest(t, w, o)
	if err != nil || again.Stored != 900-s.Stored || again.Duplicates != s.Stored {
		t.Errorf("of the mended file: %+v, %v", again, err)
	}
}

// A rejection of a line seals the line as it stands in the file, white space and all.
func TestRejectedLineIsKeptWhole(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	s, err := ingest(t, etltest.NewWriter(t, env, "ingest"), source.FileOptions{Path: write(t, "\t no JSON \r\n", time.Now())})
	if err != nil || s.Rejections[etl.NotJSON] != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, r := range etltest.NewOpener(t, env).Rejections(t) {
		if string(r.Body) != "\t no JSON \r" {
			t.Errorf("sealed is %q", r.Body)
		}
	}
}
