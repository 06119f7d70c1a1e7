package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/test/corpus"
)

// mayNameFields are the files outside dataset that name a login's fields: makers of sample events.
var mayNameFields = []string{
	"test/bench/events.go",
	"test/bench/peers.go",
	"cmd/demo/walkthrough/events.go",
	"etl/etltest/etltest.go",
}

// otherMeanings are words that are a field's name and mean something else in one file, or stand in a help text's
// example.
var otherMeanings = map[string][]string{
	"cmd/demo/walkthrough/crack.go":        {"ip"},                   // cracks a field of the demo's own events
	"cmd/recover/recovercmd/request.go":    {"user_id", "device_id"}, // examples in its help
	"crypto/blindindex/transform.go":       {"ip"},                   // a transform
	"internal/sandbox/pgserver/cluster.go": {"locale"},               // Postgres's own
}

// Other people's datasets come later and must not need a rewrite: no code outside dataset names a login's fields.
func TestNoCodeNamesFields(t *testing.T) {
	root, err := corpus.Root()
	if err != nil {
		t.Fatal(err)
	}
	names := fieldPattern()
	scanned := 0
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || file == "dataset") && file != ".":
			return filepath.SkipDir
		case entry.IsDir(),
			!strings.HasSuffix(file, ".go"),
			strings.HasSuffix(file, "_test.go"),
			slices.Contains(mayNameFields, filepath.ToSlash(file)):
			return nil
		}
		scanned++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range fieldNames(t, file, text, names) {
			t.Errorf("%s: take the name from the dataset (dataset.Login().Members, Subject, Protected)", found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if scanned < 50 {
		t.Errorf("only %d files were scanned", scanned)
	}
}

// fieldPattern finds a field's name as a word of a string, alone or within a column's name.
func fieldPattern() *regexp.Regexp {
	var names []string
	for _, m := range dataset.Login().Members {
		names = append(names, regexp.QuoteMeta(m.Name))
	}
	return regexp.MustCompile(
		`(?:^|[^a-zA-Z0-9_])(?:sealed_|masked_)?(?:` + strings.Join(names,
			"|") + `)(?:_v\d+|_text)?(?:$|[^a-zA-Z0-9_])`,
	)
}

// fieldNames lists the string literals that name a field. A text in prose (a flag's help, an error) may speak of an ip
// or of a locale: those two count only where a literal is nothing else.
func fieldNames(t *testing.T, file string, text []byte, names *regexp.Regexp) []string {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, text, 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	var found []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Error(err)
			return true
		}
		prose := strings.Contains(value, " ")
		for _, match := range names.FindAllString(value, -1) {
			if word := strings.Trim(match, "\"'`,.:;()[]{}= \n\t%-"); (!prose || strings.Contains(word, "_")) &&
				!slices.Contains(otherMeanings[filepath.ToSlash(file)], word) {
				found = append(found, fset.Position(literal.Pos()).String()+": "+word)
			}
		}
		return true
	})
	return found
}

func TestFieldNamesAreFound(t *testing.T) {
	names := fieldPattern()
	for text, want := range map[string]int{
		`"ip"`: 1, `"user_id"`: 1, `"SELECT user_id, sealed_ip FROM t"`: 2, `"masked_device_id_v1"`: 1, `"{\"ip\":\"::1\"}"`: 1,
		`"an ip address"`: 0, `"zip"`: 0, `"bad_ip"`: 0, `"ip4"`: 0, `"user"`: 0, "`a locale of yours`": 0,
	} {
		if got := fieldNames(t, "x.go", []byte("package x\n\nconst x = "+text+"\n"), names); len(got) != want {
			t.Errorf("%s: %v, want %d names", text, got, want)
		}
	}
}
