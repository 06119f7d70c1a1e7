package pg_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloakroom/internal/pg"
)

var (
	functionHead = regexp.MustCompile(`(?m)^CREATE (OR REPLACE )?FUNCTION (cloakroom\.\w+)`)
	// A definition, and what stands beside it up to the next one.
	definition = regexp.MustCompile(`(?ms)^CREATE OR REPLACE FUNCTION (cloakroom\.\w+)\b.*?\$\$;\n(.*?)(?:\n\n|\z)`)
)

func sqlFiles(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files (%v)", pattern, len(files), err)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each function is defined once, in api/, with its comment beside it, and with its grant if others may call it.
func TestEachFunctionStandsOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, file := range sqlFiles(t, "schema/api/*.sql") {
		text := read(t, file)
		heads, definitions := functionHead.FindAllStringSubmatch(text, -1), definition.FindAllStringSubmatch(text, -1)
		if len(heads) != len(definitions) {
			t.Errorf("%s: %d functions, of which %d end in $$; with an empty line after comment and grant",
				file, len(heads), len(definitions))
		}
		for _, d := range definitions {
			name, beside := d[1], d[2]
			if other, ok := seen[name]; ok {
				t.Errorf("%s is defined in %s and in %s", name, other, file)
			}
			seen[name] = file
			if !strings.Contains(beside, "COMMENT ON FUNCTION "+name) {
				t.Errorf("%s: no COMMENT beside %s", file, name)
			}
			definer := strings.Contains(strings.SplitN(d[0], "AS $$", 2)[0], "SECURITY DEFINER")
			if granted := strings.Contains(beside, "GRANT EXECUTE ON FUNCTION "+name); granted != definer {
				t.Errorf("%s: %s is SECURITY DEFINER: %t, has a GRANT beside it: %t", file, name, definer, granted)
			}
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d functions were found", len(seen))
	}
	for _, file := range append(sqlFiles(t, "schema/tables/*.sql"), sqlFiles(t, "schema/*.sql")...) {
		if head := functionHead.FindString(read(t, file)); head != "" {
			t.Errorf("%s: %s belongs to api/", file, head)
		}
	}
}

// Every file of api/ is applied, and the SQL can be read.
func TestSQLFiles(t *testing.T) {
	t.Parallel()
	var names []string
	for _, file := range sqlFiles(t, "schema/api/*.sql") {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".sql"))
	}
	topics := map[string]bool{}
	for _, topic := range pg.Topics() {
		topics[topic] = true
	}
	for _, name := range names {
		if !topics[name] {
			t.Errorf("api/%s.sql is not among the topics of schema.go, so nobody applies it", name)
		}
	}
	if len(names) != len(topics) {
		t.Errorf("%d files, %d topics", len(names), len(topics))
	}
	for _, file := range append(sqlFiles(t, "schema/*.sql"), sqlFiles(t, "schema/*/*.sql")...) {
		lines := strings.Split(read(t, file), "\n")
		if len(lines) > 351 {
			t.Errorf("%s has %d lines: more than one idea", file, len(lines)-1)
		}
		for n, line := range lines {
			if len([]rune(line)) > 120 {
				t.Errorf("%s:%d: %d columns", file, n+1, len(line))
			}
		}
	}
}

// A session may set standard_conforming_strings off, and then reads a backslash in a literal otherwise, in the body of a
// SECURITY DEFINER function, too: a pattern would match other things. Bytes (\x00) are the same, or an error.
func TestLiteralsHaveNoBackslash(t *testing.T) {
	t.Parallel()
	bytes := regexp.MustCompile(`'\\x[0-9a-f]{2}'`)
	for _, file := range sqlFiles(t, "schema/api/*.sql") {
		for n, line := range strings.Split(read(t, file), "\n") {
			if strings.Contains(bytes.ReplaceAllString(line, ""), `\`) {
				t.Errorf("%s:%d: a backslash means what the session's settings say: write [.], [(], starts_with()", file, n+1)
			}
		}
	}
}

const numberFile = "testdata/api_number.txt"

// Anyone who changes api/ raises apiNumber: else keys init of an older program would put the older functions back.
func TestAPINumber(t *testing.T) {
	t.Parallel()
	now := pg.ProgramVersion()
	var number int
	var hash string
	if _, err := fmt.Sscan(read(t, numberFile), &number, &hash); err != nil {
		t.Fatal(err)
	}
	switch {
	case now.API == number && now.SHA256 == hash:
	case now.API > number && *update:
		if err := os.WriteFile(numberFile, fmt.Appendln(nil, now.API, now.SHA256), 0o644); err != nil {
			t.Fatal(err)
		}
	case now.API > number:
		t.Errorf("go test ./internal/pg -run TestAPI -update records API %d", now.API)
	default:
		t.Errorf("api/ is not what it was as API %d: set apiNumber in schema.go to %d, "+
			"then go test ./internal/pg -run TestAPI -update", number, number+1)
	}
}

// Nothing stored calls the API, so that it can be replaced; but the triggers that forbid changes do.
func TestNothingStoredCallsTheAPI(t *testing.T) {
	t.Parallel()
	var got []string
	if err := migrated(t).Select(&got, `
		SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
		 WHERE refclassid = 'pg_proc'::regclass
		   AND refobjid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'cloakroom'::regnamespace) ORDER BY 1`); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"trigger append_only on table cloakroom.audit_leaves", "trigger append_only on table cloakroom.audit_nodes",
		"trigger append_only on table cloakroom.checkpoints",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what depends on API functions (-want +got):\n%s", diff)
	}
}
