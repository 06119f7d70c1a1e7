package dataset_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
)

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

func migrated(t *testing.T) *sqlx.DB {
	t.Helper()
	db := pgtest.New(t)
	if err := pg.Migrate(t.Context(), db.URL("")); err != nil {
		t.Fatal(err)
	}
	return db.Open(t, "")
}

// The table has the columns that the dataset describes, in the order in which rows are written, and no other.
func TestTableAgreesWithDataset(t *testing.T) {
	t.Parallel()
	d := dataset.Login()
	want := []string{"message_id uuid NOT NULL", "create_date date NOT NULL"}
	clear := func(m *dataset.Member) string {
		if m.Required {
			return fmt.Sprintf("%s varchar(%d) NOT NULL", m.Name, m.Max)
		}
		return fmt.Sprintf("%s varchar(%d)", m.Name, m.Max)
	}
	for i := range d.Members {
		switch m := &d.Members[i]; {
		case m.Protect != nil:
		case m.Type == dataset.Version:
			want = append(want, m.Name+" integer", fmt.Sprintf("%s varchar(%d)", m.TextColumn(), m.Max))
		default:
			want = append(want, clear(m))
		}
	}
	for _, m := range d.Protected() {
		want = append(want, m.SealedColumn()+" bytea")
	}
	for _, m := range d.Protected() {
		want = append(want, m.TokenColumn(1)+" varchar(256)")
	}
	want = append(want, "data_key integer")
	db := migrated(t)
	got := columns(t, db, "cloakroom", d.Table)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cloakroom.%s (-dataset +SQL):\n%s", d.Table, diff)
	}
	var names []string
	for _, c := range got {
		name, _, _ := strings.Cut(c, " ")
		names = append(names, name)
	}
	// load() inserts the staged rows with s.*: the orders must be one.
	if diff := cmp.Diff(d.Columns([]uint32{1}), names); diff != "" {
		t.Errorf("the order of cloakroom.%s (-rows as written +SQL):\n%s", d.Table, diff)
	}
	subject, _ := d.Member(d.Subject)
	if rejections := columns(t, db, "cloakroom", "rejections"); !slices.Contains(rejections,
		fmt.Sprintf("%s varchar(%d)", subject.Name, subject.Max)) {
		t.Errorf("the subject of a rejection: %v", rejections)
	}
}

// Analysts were promised these columns: names, types, lengths and order.
func TestViewsKeepThePromise(t *testing.T) {
	t.Parallel()
	db := migrated(t)
	want := []string{
		"user_id varchar(128)", "device_type varchar(32)", "masked_ip varchar(256)", "masked_device_id varchar(256)",
		"locale varchar(32)", "app_version integer", "create_date date",
	}
	if diff := cmp.Diff(want, columns(t, db, "public", "user_logins")); diff != "" {
		t.Errorf("public.user_logins (-promised +SQL):\n%s", diff)
	}
	want = []string{"field text", "token varchar(256)", "logins bigint", "users bigint", "first_date date",
		"last_date date"}
	if diff := cmp.Diff(want, columns(t, db, "public", "user_login_duplicates")); diff != "" {
		t.Errorf("public.user_login_duplicates (-promised +SQL):\n%s", diff)
	}
	// And the view shows nothing but members of the dataset, the protected ones as tokens.
	d := dataset.Login()
	for _, m := range d.Members {
		name := m.Name
		if m.Protect != nil {
			name = m.ViewColumn()
		}
		if !slices.ContainsFunc(columns(t, db, "public", d.Table), func(c string) bool {
			return strings.HasPrefix(c,
				name+" ")
		}) {
			t.Errorf("the view lacks %s", name)
		}
	}
}

// A cast in the view would keep its equality from the index on the table's column.
func TestViewUsesTheIndexes(t *testing.T) {
	t.Parallel()
	db := migrated(t)
	db.SetMaxOpenConns(1)
	db.MustExec(`SET enable_seqscan = off`)
	for _, column := range []string{"masked_ip", "masked_device_id"} {
		db.MustExec(`SELECT cloakroom.make_month('2026-01-01')`)
		var plan []string
		if err := db.Select(&plan,
			`EXPLAIN SELECT * FROM public.user_logins WHERE `+column+` = 'AAAAAAAAAAAAAAAAAAAAAA' AND create_date = '2026-01-01'`); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); !strings.Contains(text, column+"_v1_idx") || !strings.Contains(text,
			"Index Cond: (("+column+"_v1)::text = ") {
			t.Errorf("equality on %s:\n%s", column, text)
		}
	}
}
