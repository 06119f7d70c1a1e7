package dataset_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
)

// changed is the small dataset or the orders with parts of the YAML replaced: old, new, old, new.
func changed(t *testing.T, text string, replace ...string) *dataset.Dataset {
	t.Helper()
	for i := 0; i < len(replace); i += 2 {
		if strings.Count(text, replace[i]) != 1 {
			t.Fatalf("%q stands %d times in the definition", replace[i], strings.Count(text, replace[i]))
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	return parse(t, text)
}

func orderText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/order.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What cannot be done says so, and nothing is done.
func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	text := orderText(t)
	old := parse(t, text)
	for name, c := range map[string]struct {
		code    string
		replace []string
	}{
		"another name":      {"dataset", []string{"dataset: order", "dataset: orders"}},
		"another table":     {"table", []string{"table: orders", "table: sales"}},
		"another subject":   {"subject", []string{"subject: customer_id", "subject: order_id"}},
		"no id":             {"id", []string{"\nid: order_id", ""}},
		"no time":           {"id", []string{"\nid: order_id\ntime: placed_at", ""}},
		"longer partitions": {"partition", []string{"partition: day", "partition: month"}},
		"a member less":     {"drop_member", []string{"  - {name: gift, type: boolean}\n", ""}},
		"another type":      {"type", []string{"{name: gift, type: boolean}", "{name: gift, type: text, max: 9}"}},
		"a shorter text":    {"narrow", []string{"type: text, max: 64", "type: text, max: 63"}},
		"fewer digits":      {"narrow", []string{"precision: 12, scale: 2", "precision: 12, scale: 3"}},
		"a finer scale":     {"scale", []string{"precision: 12, scale: 2", "precision: 13, scale: 3"}},
		"another pad":       {"pad", []string{"pad: 256", "pad: 128"}},
		"other steps":       {"normalise", []string{"[trim, casefold]", "[text]"}},
		"protection taken": {"unprotect",
			[]string{"{name: address, type: json, max: 4000, protect: {pad: 256, index: []}}",
				"{name: address, type: json, max: 4000}"}},
		"one of two, refused": {"pad", []string{"pad: 256", "pad: 128", "{name: gift, type: boolean}",
			"{name: gift, type: boolean, required: true}"}},
	} {
		e := dataset.Plan(old, changed(t, text, c.replace...), 1)
		refused := e.Refused()
		if len(refused) == 0 || refused[0].Code != c.code || refused[0].Refused == "" || len(e.Steps) > 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if e := dataset.Plan(old, old, 1); len(e.Changes) > 0 || len(e.Steps) > 0 {
		t.Errorf("no change: %+v", e)
	}
}

// follow carries out the steps of a plan as apply and the rotation job would, over rows that are there.
func follow(t *testing.T, db *sqlx.DB, d *dataset.Dataset, e dataset.Evolution, backfill func()) {
	t.Helper()
	epoch := false
	for _, s := range e.Steps {
		switch {
		case s.By == dataset.ByEpoch:
			epoch = true
		case s.By == dataset.ByRotation && len(s.Indexes) == 0:
			if backfill != nil {
				backfill()
			}
			backfill = nil
		}
		for _, column := range s.Indexes {
			var partitions []string
			if err := db.Select(&partitions,
				`SELECT relname FROM pg_partition_tree($1) JOIN pg_class ON oid = relid WHERE isleaf`,
				`cloakroom_data."`+d.Table+`"`); err != nil {
				t.Fatal(err)
			}
			for _, name := range partitions {
				create, attach := d.PartitionIndexSQL(column, name)
				db.MustExec(create)
				db.MustExec(attach)
			}
		}
		if _, err := db.Exec(s.SQL); err != nil {
			t.Fatalf("%s: %v\n%s", s.Title, err, s.SQL)
		}
	}
	if !epoch {
		t.Error("no epoch")
	}
}

// hasShape holds the table and the views to a definition, whatever the order of the table's columns.
func hasShape(t *testing.T, db *sqlx.DB, d *dataset.Dataset) {
	t.Helper()
	names := func(schema, table string) (out []string) {
		for _, c := range columns(t, db, schema, table) {
			name, _, _ := strings.Cut(c, " ")
			out = append(out, name)
		}
		return out
	}
	var want []string
	for _, c := range d.TableColumns([]uint32{1}) {
		want = append(want, c.Name)
	}
	got := names("cloakroom_data", d.Table)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-definition +SQL):\n%s", diff)
	}
	if diff := cmp.Diff(d.ViewColumns(), names("public", d.Table)); diff != "" {
		t.Errorf("view (-definition +SQL):\n%s", diff)
	}
	var invalid []string
	if err := db.Select(&invalid, `SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid
		UNION ALL SELECT conname FROM pg_constraint WHERE NOT convalidated`); err != nil || len(invalid) > 0 {
		t.Errorf("not valid: %v (%v)", invalid, err)
	}
}

// Every change that can be made ends in the shape of a table that was made so from the beginning, with rows in it.
func TestEvolution(t *testing.T) {
	t.Parallel()
	const added = "  - {name: note, type: json, max: 100}\n  - {name: mail, type: text, max: 99, required: true, protect: {normalise: [trim, casefold], index: [exact, domain], reveal: domain}}\n"
	for name, c := range map[string]struct {
		replace []string
		codes   []string
		remains bool
	}{
		"add members": {[]string{small, small + added}, []string{"add_member", "add_member"}, false},
		"widen": {[]string{"max: 10,", "max: 30,", "max: 12}", "max: 40}", "max: 20", "max: 200"},
			[]string{"widen", "widen", "widen"}, false},
		"checks, required and order": {[]string{"  - {name: owner, type: text, max: 10, required: true}\n  - {name: firmware, type: version, max: 12}",
			"  - {name: firmware, type: version, max: 12, required: true}\n  - {name: owner, type: text, max: 10, min: 2, pattern: '[a-z]*'}"},
			[]string{"required", "optional", "checks", "order"}, false},
		"index more and less": {[]string{"pad: 16",
			"pad: 16, index: [last/4, prefix/3], reveal: last4, nothing: ['0']"},
			[]string{"reveal", "drop_index", "add_index", "add_index", "nothing"}, false},
		"read elsewhere": {[]string{"max: 20", "max: 20\n    from: device.serial"}, []string{"from"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, next := parse(t, small), changed(t, small, c.replace...)
			db := created(t, time.Now(), old)
			db.MustExec(`INSERT INTO cloakroom_data.parcels (sent, row_id, create_date, owner, sealed_serial, masked_serial_v1, data_key)
				SELECT now(), gen_random_uuid(), (now() AT TIME ZONE 'UTC')::date, 'o', '\x0100000007aa', 'A', 7 FROM generate_series(1, 5)`)
			db.MustExec(`GRANT SELECT ON public.parcels TO PUBLIC; GRANT SELECT (owner, masked_serial) ON public.parcels TO cloakroom_analyst WITH GRANT OPTION`)
			e := dataset.Plan(old, next, 1)
			var codes []string
			for _, change := range e.Changes {
				codes = append(codes, change.Code)
			}
			if !slices.Equal(codes, c.codes) {
				t.Errorf("changes %q, want %q", codes, c.codes)
			}
			follow(t, db, next, e, func() {
				for _, ix := range next.Indexes() {
					if ix.Member.Name == "serial" {
						db.MustExec(fmt.Sprintf(`UPDATE cloakroom_data.parcels SET %s = 'B' WHERE sealed_serial IS NOT NULL`, ix.TokenColumn(1)))
					}
				}
			})
			hasShape(t, db, next)
			var rows, granted int
			if err := db.QueryRow(`SELECT count(*), (SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE relname = 'parcels' AND relnamespace = 'public'::regnamespace AND grantee = 0)
				FROM public.parcels`).Scan(&rows, &granted); err != nil || rows != 5 || granted != 1 {
				t.Errorf("%d rows, %d grants to PUBLIC (%v)", rows, granted, err)
			}
			if again := dataset.Plan(next, next, 1); len(again.Changes) > 0 {
				t.Errorf("once more: %+v", again.Changes)
			}
		})
	}
}

// Protecting what was in clear: it stops while a value is left, names what depends on the view, and ends without
// the column.
func TestEvolutionProtects(t *testing.T) {
	t.Parallel()
	const clear = small + "  - {name: mail, type: text, max: 99, required: true}\n"
	old := parse(t, clear)
	next := changed(t, clear, "max: 99, required: true",
		"max: 99, required: true, protect: {normalise: [trim, casefold], index: [exact, domain], reveal: domain}")
	db := created(t, time.Now(), old)
	insert := `INSERT INTO cloakroom_data.parcels (sent, row_id, create_date, owner, mail) VALUES (now(), gen_random_uuid(), (now() AT TIME ZONE 'UTC')::date, 'o', 'a@b')`
	db.MustExec(insert)
	db.MustExec(`CREATE VIEW public.mine AS SELECT mail FROM public.parcels`)
	e := dataset.Plan(old, next, 1)
	if len(e.Changes) != 1 || e.Changes[0].Code != "protect" || len(e.Changes[0].Remains) == 0 {
		t.Fatalf("%+v", e.Changes)
	}
	var prove, views, statistics string
	for _, s := range e.Steps {
		switch {
		case strings.Contains(s.SQL, "RAISE EXCEPTION"):
			prove = s.SQL
		case strings.Contains(s.SQL, "DROP VIEW"):
			views = s.SQL
		case strings.Contains(s.SQL, "pg_statistic"):
			statistics = s.SQL
		}
	}
	if _, err := db.Exec(prove); err == nil {
		t.Error("a value is left in clear, and the proof passes")
	}
	if statistics == "" || e.Steps[len(e.Steps)-1].By != dataset.ByOperator {
		t.Errorf("the last step is %+v", e.Steps[len(e.Steps)-1])
	}
	if _, err := db.Exec(views); err == nil || !strings.Contains(fmt.Sprintf("%+v", err), "depend") {
		t.Errorf("a view that depends on it does not stop it: %v", err)
	}
	db.MustExec(`DROP VIEW public.mine`)
	follow(t, db, next, e, func() {
		db.MustExec(`UPDATE cloakroom_data.parcels SET mail = NULL, data_key = 7, sealed_mail = '\x0100000007aa', masked_mail_v1 = 'A', masked_mail__domain_v1 = 'B', mail__domain = 'b'`)
	})
	hasShape(t, db, next)
}

func TestPlanIsGolden(t *testing.T) {
	t.Parallel()
	text := orderText(t)
	next := changed(t, text, "{name: relay, type: ip}", "{name: relay, type: ip, protect: {reveal: network}}",
		"index: [exact, domain]", "index: [exact]", "max: 16,", "max: 20,")
	var b strings.Builder
	e := dataset.Plan(parse(t, text), next, 1)
	for _, c := range e.Changes {
		fmt.Fprintf(&b, "-- %s: %s\n", c.Code, c.Text)
	}
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "\n-- %s: %s %q\n%s", s.By, s.Title, s.Indexes, s.SQL)
	}
	golden(t, "testdata/plan.sql", []byte(b.String()))
}

// Why the views are dropped and made again: if Postgres lets go of one of these, replacing them would do.
func TestWhyViewsAreMadeAnew(t *testing.T) {
	t.Parallel()
	db := created(t, time.Now(), parse(t, small))
	for name, c := range map[string]struct{ sql, want string }{
		"another type of a view's column": {
			`CREATE OR REPLACE VIEW public.parcels AS SELECT masked_serial_v1 AS owner, firmware, masked_serial_v1 AS masked_serial, create_date FROM cloakroom_data.parcels`,
			"cannot change data type of view column"},
		"a column in the middle": {
			`CREATE OR REPLACE VIEW public.parcels AS SELECT owner, firmware_text, firmware, masked_serial_v1 AS masked_serial, create_date FROM cloakroom_data.parcels`,
			"cannot change name of view column"},
		"another type under a view": {`ALTER TABLE cloakroom_data.parcels ALTER COLUMN owner TYPE varchar(20)`,
			"used by a view or rule"},
	} {
		if _, err := db.Exec(c.sql); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	db.MustExec(`SET enable_seqscan = off`)
	var plan []string
	if err := db.Select(&plan,
		`EXPLAIN SELECT FROM cloakroom_data.parcels WHERE masked_serial_v1::varchar(20) = 'A'`); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(plan, "\n"); strings.Contains(text, "Index Cond") {
		t.Errorf("a cast keeps the index:\n%s", text)
	}
}
