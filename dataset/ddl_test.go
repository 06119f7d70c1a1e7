package dataset_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
)

func TestSQLIsGolden(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*dataset.Dataset{"login": dataset.Login(), "order": order(t), "small": parse(t,
		small)} {
		golden(t, "testdata/"+name+".sql", []byte(d.CreateSQL(1, 150000)))
	}
	if sql := order(t).CreateSQL(1, 160000); !strings.Contains(sql, "USING brin (data_key)") {
		t.Error("a server that can has no BRIN index")
	}
}

// created is a database with the tables of datasets and their partitions around a day.
func created(t *testing.T, day time.Time, datasets ...*dataset.Dataset) *sqlx.DB {
	t.Helper()
	db := pgtest.New(t).Open(t, "")
	db.SetMaxOpenConns(1)
	db.MustExec(`CREATE SCHEMA cloakroom_data`)
	// Roles are the server's, which tests share.
	db.MustExec(`DO $$ BEGIN CREATE ROLE cloakroom_analyst; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$`)
	for _, d := range datasets {
		db.MustExec(d.CreateSQL(1, 150000))
		for n := range 12 {
			at := day.AddDate(0, n-6, 0)
			if d.Partition == dataset.Daily {
				at = day.AddDate(0, 0, n-10)
			}
			db.MustExec(d.PartitionSQL(at))
		}
	}
	return db
}

// The login view keeps what analysts were promised; the other views have the columns that the definition says.
func TestViews(t *testing.T) {
	t.Parallel()
	db := created(t, time.Now(), dataset.Login(), order(t))
	want := []string{
		"user_id varchar(128)", "device_type varchar(32)", "masked_ip varchar(256)", "masked_device_id varchar(256)",
		"locale varchar(32)", "app_version integer", "create_date date",
	}
	if diff := cmp.Diff(want, columns(t, db, "public", "user_logins")); diff != "" {
		t.Errorf("public.user_logins (-promised +SQL):\n%s", diff)
	}
	for _, d := range []*dataset.Dataset{dataset.Login(), order(t)} {
		for view, want := range map[string][]string{d.Table: d.ViewColumns(),
			d.DuplicatesView(): dataset.DuplicatesColumns()} {
			var got []string
			for _, c := range columns(t, db, "public", view) {
				name, _, _ := strings.Cut(c, " ")
				got = append(got, name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("public.%s (-definition +SQL):\n%s", view, diff)
			}
		}
	}
}

// The partitions that cannot hold the date are not read: for a constant, for a date reckoned when the query begins,
// and for a parameter of a plan that was made before.
func TestViewPrunes(t *testing.T) {
	t.Parallel()
	today := time.Now().UTC()
	db := created(t, today, dataset.Login(), order(t))
	for _, d := range []*dataset.Dataset{dataset.Login(), order(t)} {
		table := `public."` + d.Table + `"`
		db.MustExec(`SET plan_cache_mode = force_generic_plan; PREPARE by_date_` + d.Table + `(date) AS SELECT * FROM ` + table + ` WHERE create_date = $1`)
		date := today.Format(time.DateOnly)
		for query, most := range map[string]int{
			`SELECT * FROM ` + table + ` WHERE create_date = '` + date + `'`:             1,
			`SELECT * FROM ` + table + ` WHERE create_date = current_date - 7`:           1,
			`SELECT * FROM ` + table + ` WHERE create_date >= current_date`:              7,
			`EXECUTE by_date_` + d.Table + `('` + date + `')`:                            1,
			`SELECT masked FROM (SELECT count(*) AS masked FROM ` + table + `) AS every`: 12,
		} {
			if n, plan := scanned(t, db, query); n < 1 || n > most {
				t.Errorf("%s: %d partitions are read, want 1 to %d:\n%s", query, n, most, plan)
			}
		}
	}
}

// scanned counts the partitions that a query reads.
func scanned(t *testing.T, db *sqlx.DB, query string) (int, string) {
	t.Helper()
	var lines []string
	if err := db.Select(&lines, `EXPLAIN `+query); err != nil {
		t.Fatal(err)
	}
	plan := strings.Join(lines, "\n")
	return strings.Count(plan, "Seq Scan on ") + strings.Count(plan, "Bitmap Heap Scan on ") + strings.Count(plan,
		"Index Scan using "), plan
}

// An equality on a token uses its index.
func TestViewUsesTokenIndexes(t *testing.T) {
	t.Parallel()
	d := order(t)
	db := created(t, time.Now(), d)
	db.MustExec(`SET enable_seqscan = off`)
	for _, ix := range d.Indexes() {
		var plan []string
		if err := db.Select(&plan,
			`EXPLAIN SELECT * FROM public.orders WHERE "`+ix.ViewColumn()+`" = 'AAAAAAAAAAAAAAAAAAAAAA' AND create_date = current_date`); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); !strings.Contains(text, "Index Cond: (("+ix.TokenColumn(1)+")::text = ") {
			t.Errorf("equality on %s:\n%s", ix.ViewColumn(), text)
		}
	}
}

// What the table refuses: what no correct client sends, and what would keep a reindex from ending.
func TestTableRefuses(t *testing.T) {
	t.Parallel()
	d := parse(t, small)
	day := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	db := created(t, day, d)
	insert := func(values string) error {
		_, err := db.Exec(`INSERT INTO cloakroom_data.parcels (sent, row_id, create_date, owner, sealed_serial, masked_serial_v1, data_key) VALUES ` + values)
		return err
	}
	const id = `'6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08'`
	for name, values := range map[string]string{
		"another day":               `('2026-01-15T23:59:59Z', ` + id + `, '2026-01-16', 'o', NULL, NULL, NULL)`,
		"a sealed value, no key":    `('2026-01-15T00:00:00Z', ` + id + `, '2026-01-15', 'o', '\x0100000007aa', 'A', NULL)`,
		"another key":               `('2026-01-15T00:00:00Z', ` + id + `, '2026-01-15', 'o', '\x0100000007aa', 'A', 8)`,
		"a sealed value, no token":  `('2026-01-15T00:00:00Z', ` + id + `, '2026-01-15', 'o', '\x0100000007aa', NULL, 7)`,
		"a token, no sealed value":  `('2026-01-15T00:00:00Z', ` + id + `, '2026-01-15', 'o', NULL, 'A', 7)`,
		"a required member, absent": `('2026-01-15T00:00:00Z', ` + id + `, '2026-01-15', NULL, NULL, NULL, NULL)`,
	} {
		if err := insert(values); err == nil || !strings.HasPrefix(pg.Code(err), "23") {
			t.Errorf("%s: %v, want a constraint's refusal", name, err)
		}
	}
	for _, values := range []string{
		`('2026-01-15T23:59:59Z', ` + id + `, '2026-01-15', 'o', '\x0100000007aa', 'A', 7)`,
		`('2026-01-15T00:00:00Z', ` + id + `, '2026-01-15', 'o', NULL, NULL, NULL)`,
		`('2026-01-16T00:00:00Z', ` + id + `, '2026-01-16', 'p', '\x0100000007aa', 'A', 7)`,
		`('2026-01-16T00:00:01Z', ` + id + `, '2026-01-16', 'p', '\x0100000007aa', '-', 7)`,
		`('2026-01-16T00:00:02Z', ` + id + `, '2026-01-16', 'p', '\x0100000007aa', '-', 7)`,
	} {
		if err := insert(values); err != nil {
			t.Errorf("%s: %v", values, err)
		}
	}
	var found []struct {
		Field, Index, Token string
		Rows, Subjects      int
	}
	if err := db.Select(&found,
		`SELECT field, index, token, rows, subjects FROM public.parcels_duplicates`); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Token != "A" || found[0].Rows != 2 || found[0].Subjects != 2 || found[0].Field != "serial" || found[0].Index != "exact" {
		t.Errorf("duplicates %+v", found)
	}
}

// A reindex adds the tokens of another version beside those that are there, and takes the old ones away.
func TestVersions(t *testing.T) {
	t.Parallel()
	d := order(t)
	db := created(t, time.Now(), d)
	db.MustExec(d.AddVersionSQL(2))
	add, validate := d.CheckVersionSQL(2)
	db.MustExec(add)
	db.MustExec(validate)
	db.MustExec(d.ViewsSQL(2))
	db.MustExec(d.DropVersionSQL(1))
	var want, got []string
	for _, c := range d.TableColumns([]uint32{2}) {
		want = append(want, c.Name)
	}
	for _, c := range columns(t, db, "cloakroom_data", d.Table) {
		name, _, _ := strings.Cut(c, " ")
		got = append(got, name)
	}
	sorted := cmp.Transformer("set", func(list []string) map[string]bool {
		set := map[string]bool{}
		for _, s := range list {
			set[s] = true
		}
		return set
	})
	if diff := cmp.Diff(want, got, sorted); diff != "" {
		t.Error(diff)
	}
}

// columns are what information_schema says of them, as SQL writes it: "user_id varchar(128) NOT NULL".
func columns(t *testing.T, db *sqlx.DB, schema, table string) []string {
	t.Helper()
	var found []struct {
		Name     string `db:"column_name"`
		Type     string `db:"data_type"`
		Length   *int   `db:"character_maximum_length"`
		Nullable string `db:"is_nullable"`
	}
	if err := db.Select(&found, `SELECT column_name, data_type, character_maximum_length, is_nullable
		FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position`, schema, table); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range found {
		text := c.Name + " " + strings.ReplaceAll(c.Type, "character varying", "varchar")
		if c.Length != nil {
			text += fmt.Sprintf("(%d)", *c.Length)
		}
		if c.Nullable == "NO" {
			text += " NOT NULL"
		}
		out = append(out, text)
	}
	return out
}
