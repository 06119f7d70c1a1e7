package pg

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
)

// The schema comes in two halves. tables/ is numbered, and each file runs once. api/ holds the functions, each
// defined once in its final form; all of it is applied again whenever it changed.
//
//go:embed schema
var schemaFiles embed.FS

// apiNumber tells versions of api/ apart: keys init of a program with a lower number refuses. Raise it with each
// change of api/; TestAPINumber fails if that was forgotten.
const apiNumber = 52

// topics are the files of api/, in the order in which they are applied and printed. A function of language SQL must
// come after those that it calls.
var topics = []string{
	"guards", "audit", "groups", "grants", "keks", "vault", "rows", "datasets", "datakeys", "load", "sources", "rejections",
	"select", "request", "decide", "open", "passes", "reseal", "reindex", "reindex_indexes", "reindex_swap",
	"leakage", "leakage_counts", "evolve", "evolve_rows", "evolve_gate", "rewrap", "shred", "forget", "verify",
}

// section is a piece of the schema's SQL, named for errors and headings.
type section struct{ name, sql string }

func schemaFile(name string) string {
	text, err := schemaFiles.ReadFile("schema/" + name)
	if err != nil {
		panic(err) // embedded: the names are this file's, or were listed
	}
	return string(text)
}

func tableFiles() fs.FS {
	sub, err := fs.Sub(schemaFiles, "schema/tables")
	if err != nil {
		panic(err) // the path is a constant
	}
	return sub
}

// tables are the files of tables/ by their numbers, in order.
func tables() (names []string, versions []int64, err error) {
	names, err = fs.Glob(tableFiles(), "*.sql")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, nil, fmt.Errorf("numbering schema/tables/%s: %w", name, err)
		}
		versions = append(versions, version)
	}
	return names, versions, nil
}

func apiFiles() []section {
	sections := make([]section, len(topics))
	for i, topic := range topics {
		name := path.Join("api", topic+".sql")
		sections[i] = section{name, schemaFile(name)}
	}
	return sections
}

// apiSHA256 is over the names and texts of the files of api/.
func apiSHA256() string {
	h := sha256.New()
	for _, file := range apiFiles() {
		fmt.Fprintf(h, "%s %d\n%s", file.name, len(file.sql), file.sql)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// apiFunction is a line of api.txt: what CREATE OR REPLACE cannot change, and who may execute it.
type apiFunction struct {
	signature, arguments, result, defaults, roles string
}

// apiFunctions are the functions that api.txt lists.
func apiFunctions() []apiFunction {
	var functions []apiFunction
	lines := bufio.NewScanner(strings.NewReader(schemaFile("api.txt")))
	for lines.Scan() {
		if columns := strings.Split(lines.Text(), " | "); len(columns) == 5 && !strings.HasPrefix(lines.Text(), "#") {
			functions = append(functions, apiFunction{columns[0], columns[1], columns[2], columns[3], columns[4]})
		}
	}
	return functions
}

// FunctionsOf are the signatures of the API functions that a role may execute, such as "ingest" of cloakroom_ingest.
func FunctionsOf(role string) []string {
	var signatures []string
	for _, f := range apiFunctions() {
		if slices.Contains(strings.Fields(f.roles), role) {
			signatures = append(signatures, f.signature)
		}
	}
	return signatures
}

// apiSections apply the API, in one transaction of the owner's that holds the lock of cloakroom.migrating.
func apiSections(downgrade bool) []section {
	var contents strings.Builder
	contents.WriteString(`-- Every function: what it takes, what it returns, how many
-- arguments have a default, and who may execute it.
CREATE TEMPORARY TABLE api_wanted (function text PRIMARY KEY, arguments text, result text, defaults integer)
  ON COMMIT DROP;
INSERT INTO pg_temp.api_wanted VALUES`)
	for i, f := range apiFunctions() {
		if i > 0 {
			contents.WriteString(",")
		}
		fmt.Fprintf(&contents, "\n  -- %s\n  (%s, %s, %s, %s)", f.roles,
			pq.QuoteLiteral(f.signature), pq.QuoteLiteral(f.arguments), pq.QuoteLiteral(f.result), f.defaults)
	}
	fmt.Fprintf(&contents, `;
CREATE TEMPORARY TABLE api_applying (number integer, sha256 text, downgrade boolean) ON COMMIT DROP;
INSERT INTO pg_temp.api_applying VALUES (%d, '%s', %t);
`, apiNumber, apiSHA256(), downgrade)
	sections := []section{{"contents", contents.String()}, {"begin_api.sql", schemaFile("begin_api.sql")}}
	return append(append(sections, apiFiles()...), section{"end_api.sql", schemaFile("end_api.sql")})
}

// asOwnerSQL goes on as the owner, holding the lock that every change of the schema holds. Goose's own locker takes
// an advisory lock, which anybody who can connect may take, too, and never let go.
const asOwnerSQL = `SET LOCAL ROLE cloakroom_owner;
` + migratingSQL + `LOCK TABLE cloakroom.migrating IN EXCLUSIVE MODE;
`

const migratingSQL = `DO $$ BEGIN
  IF to_regclass('cloakroom.migrating') IS NULL THEN
    CREATE TABLE cloakroom.migrating ();
    COMMENT ON TABLE cloakroom.migrating IS 'locked, never read, by each change of the schema';
  END IF;
END $$;
`

// versionTable is where goose keeps which files of tables/ ran.
const versionTable = "cloakroom.schema_migrations"

// versionTableSQL makes it as goose does.
const versionTableSQL = `CREATE TABLE IF NOT EXISTS ` + versionTable + ` (
  id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, version_id bigint NOT NULL, is_applied boolean NOT NULL,
  tstamp timestamp NOT NULL DEFAULT now());
INSERT INTO ` + versionTable + ` (version_id, is_applied) SELECT 0, true
 WHERE NOT EXISTS (SELECT FROM ` + versionTable + `);
`

// SQL is everything that Migrate runs, for an operator who wants to read it or run it by hand, with psql or another
// client: one transaction, and safe to run again.
func SQL() (string, error) {
	names, versions, err := tables()
	if err != nil {
		return "", err
	}
	sections := []section{
		{"roles and schemas", "SET LOCAL search_path = pg_catalog, pg_temp;\n" + schemaFile("roles.sql")},
		{"the owner, alone", asOwnerSQL},
		{"tables: each file runs once", versionTableSQL},
	}
	for i, name := range names {
		var b strings.Builder
		fmt.Fprintf(&b, "DO $tables$ BEGIN IF NOT EXISTS (SELECT FROM %s WHERE version_id = %d) THEN\n",
			versionTable, versions[i])
		for line := range strings.Lines(schemaFile("tables/" + name)) {
			if !strings.HasPrefix(line, "-- +goose") {
				b.WriteString(line)
			}
		}
		fmt.Fprintf(&b, "\nINSERT INTO %s (version_id, is_applied) VALUES (%d, true);\nEND IF; END $tables$;\n",
			versionTable, versions[i])
		sections = append(sections, section{"tables/" + name, b.String()})
	}
	var b strings.Builder
	b.WriteString("-- cloakroom's schema. Safe to run again. keys init then makes the first index key.\nBEGIN;\n")
	for _, s := range append(sections, apiSections(false)...) {
		fmt.Fprintf(&b, "\n-- ======== %s\n\n%s", s.name, s.sql)
	}
	b.WriteString("\nCOMMIT;\n")
	return b.String(), nil
}
