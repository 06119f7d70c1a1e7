package pg_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloakroom/internal/pg"
)

// What a vault on Citus could not do, no function does: DESIGN.md and docs/design.md say which rules these are.
func TestRowTablesCanBeDistributed(t *testing.T) {
	t.Parallel()
	v := newTwoDatasets(t)
	db := v.Open(t, "")
	// A unique constraint holds on all workers only if it contains what the rows are distributed by.
	var without, names []string
	if err := db.Select(&without, `
		SELECT x.indexrelid::regclass::text FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
		 WHERE c.relnamespace = 'cloakroom_data'::regnamespace AND x.indisunique
		   AND NOT EXISTS (SELECT FROM pg_attribute a
		                    WHERE a.attrelid = c.oid AND a.attnum = ANY (x.indkey) AND a.attname = 'row_id')`); err != nil {
		t.Fatal(err)
	}
	if len(without) > 0 {
		t.Errorf("unique indexes without row_id: %v", without)
	}
	if n := get[int](v, "owner", `SELECT count(*) FROM pg_constraint
		WHERE contype = 'p' AND connamespace = 'cloakroom_data'::regnamespace`); n < 4 {
		t.Errorf("only %d primary keys were looked at", n)
	}

	var functions []struct {
		Name string `db:"proname"`
		Lang string `db:"lanname"`
		Text string `db:"prosrc"`
	}
	if err := db.Select(&functions, `
		SELECT p.proname, l.lanname, p.prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		 WHERE p.pronamespace = 'cloakroom'::regnamespace ORDER BY 1`); err != nil {
		t.Fatal(err)
	}
	if err := db.Select(&names, `SELECT relname FROM pg_class WHERE relnamespace = 'cloakroom'::regnamespace
		AND relkind = 'r' AND relname <> 'rejections'`); err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, f := range functions {
		text := comment.ReplaceAllString(f.Text, "")
		if !strings.Contains(text, "cloakroom.rejections") && !dynamic.MatchString(text) {
			continue
		}
		looked++
		if f.Lang != "plpgsql" {
			t.Errorf("%s reads rows or rejections and is written in %s", f.Name, f.Lang)
		}
		for statement := range strings.SplitSeq(strings.ReplaceAll(text, " LOOP\n", ";"), ";") {
			if noColumn.MatchString(statement) {
				t.Errorf("%s: a SELECT of rows or rejections has no column: %s", f.Name, strings.TrimSpace(statement))
			}
			if !strings.Contains(statement, "cloakroom.rejections") {
				continue
			}
			for _, table := range relation.FindAllStringSubmatch(statement, -1) {
				if slices.Contains(names, table[1]) {
					t.Errorf("%s: rejections and %s meet in one statement: %s", f.Name, table[1], strings.TrimSpace(statement))
				}
			}
		}
	}
	if looked < 20 {
		t.Errorf("only %d functions were looked at", looked)
	}
}

var (
	comment  = regexp.MustCompile(`--[^\n]*`)
	dynamic  = regexp.MustCompile(`(?s)EXECUTE.*(FROM|UPDATE|INTO|JOIN) %`)
	noColumn = regexp.MustCompile(`SELECT FROM (%|cloakroom\.rejections)`)
	relation = regexp.MustCompile(`(?:FROM|JOIN|USING|,)\s+cloakroom\.(\w+)\b`)
)

// A load is refused if one of its rows was sealed under no key, or under the key of another dataset.
func TestLoadRefusesForeignKeys(t *testing.T) {
	t.Parallel()
	v := newTwoDatasets(t)
	login, order := v.datasets[0], v.datasets[1]
	key, other := v.newKey("ingest", login), v.newKey("ingest", order)
	for name, stage := range map[string]func(){
		"no key":                       func() { v.stageRow(login, nil, v.now); v.stageRow(login, key, v.now) },
		"a key that is not the load's": func() { v.stageRow(login, other, v.now) },
		"a rejection under another":    func() { v.stageRejection(login, other) },
	} {
		if err := v.load(login, key, stage); pg.Code(err) != pg.UnknownDataKey {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.load(login, other, func() { v.stageRow(login, other, v.now) }); pg.Code(err) != pg.UnknownDataKey {
		t.Errorf("the key of another dataset: %v", err)
	}
	if err := v.load(login, key, func() { v.stageRow(login, key, v.now) }); err != nil {
		t.Error(err)
	}
}
