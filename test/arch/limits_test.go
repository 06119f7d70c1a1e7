package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cloakroom/test/corpus"
)

const (
	maxLines   = 350 // of a file of product code or SQL: above it a file usually holds two ideas
	maxColumns = 120 // of a line of Go; a tab counts as four
)

// stillWide are directories whose Go has lines over the limit: those are counted (go test -v), and not held to it. A
// directory that has none left comes off the list.
var stillWide = []string{
	"cmd/ingest", "cmd/keys", "cmd/recover", "crypto", "dataset", "etl", "internal/pg", "keys", "recover", "test",
}

// source is one file of Go or SQL.
type source struct {
	path  string // from the root, with slashes
	lines []string
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }
func (s source) isGo() bool   { return strings.HasSuffix(s.path, ".go") }

func sources(t *testing.T) []source {
	t.Helper()
	root, err := corpus.Root()
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if file != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, ".sql") {
			return nil
		}
		text, err := os.ReadFile(path)
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		all = append(all, source{filepath.ToSlash(file), lines})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 200 {
		t.Fatalf("only %d files were found", len(all))
	}
	return all
}

func columns(line string) int {
	return utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
}

// A file of product code or SQL holds one idea, no line is wider than a screen, and nothing runs before main.
func TestFilesKeepToTheLimits(t *testing.T) {
	startsBefore := regexp.MustCompile(`^func init\(\)`)
	wide := map[string]int{}
	for _, s := range sources(t) {
		if len(s.lines) > maxLines && !s.isTest() {
			t.Errorf("%s: %d lines, over %d: part it", s.path, len(s.lines), maxLines)
		}
		if !s.isGo() {
			continue
		}
		still := slices.IndexFunc(stillWide, func(dir string) bool { return under(s.path, dir) })
		for i, line := range s.lines {
			if startsBefore.MatchString(line) {
				t.Errorf("%s:%d: init() runs unasked: make it a function that main or a test calls", s.path, i+1)
			}
			if columns(line) <= maxColumns {
				continue
			}
			if still >= 0 {
				wide[stillWide[still]]++
			} else if !s.isTest() {
				t.Errorf("%s:%d: %d columns, over %d", s.path, i+1, columns(line), maxColumns)
			}
		}
	}
	for _, dir := range stillWide {
		t.Logf("%s: %d lines over %d columns", dir, wide[dir], maxColumns)
	}
}

// The share of comments is no aim in itself, so it is printed, not held to (go test -v).
func TestShareOfComments(t *testing.T) {
	comments, total := map[string]int{}, map[string]int{}
	for _, s := range sources(t) {
		if s.isTest() || under(s.path, "test") {
			continue
		}
		area, _, _ := strings.Cut(s.path, "/")
		if !s.isGo() {
			area = "SQL"
		}
		for _, line := range s.lines {
			line = strings.TrimSpace(line)
			if line == "" {
				continue
			}
			total[area]++
			if strings.HasPrefix(line, "//") || strings.HasPrefix(line, "--") {
				comments[area]++
			}
		}
	}
	for area, n := range total {
		t.Logf("%-10s %5d lines, %2d %% comments", area, n, 100*comments[area]/n)
	}
}
