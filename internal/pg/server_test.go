package pg_test

import (
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
)

// What lets strangers hold up the vault is read back, whatever was said to take it away.
func TestExposure(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if err := pg.Migrate(t.Context(), db.URL("")); err != nil {
		t.Fatal(err)
	}
	admin := db.Open(t, "")
	want := func(db *sqlx.DB, what ...string) {
		t.Helper()
		notes, err := pg.Exposure(t.Context(), db)
		if err != nil || len(notes) != len(what) {
			t.Fatalf("%q (%v), want %d notes", notes, err, len(what))
		}
		for i := range what {
			if !strings.Contains(notes[i], what[i]) {
				t.Errorf("%q does not say %q", notes[i], what[i])
			}
		}
	}
	want(admin)
	for _, privilege := range []string{"CONNECT", "TEMPORARY"} {
		admin.MustExec(`GRANT ` + privilege + ` ON DATABASE ` + db.Name() + ` TO PUBLIC`)
		want(admin, "REVOKE CONNECT, TEMPORARY")
		admin.MustExec(`REVOKE ` + privilege + ` ON DATABASE ` + db.Name() + ` FROM PUBLIC`)
	}
	s := pgtest.Server(t, pgserver.Config{Settings: map[string]string{"max_prepared_transactions": "5"}})
	other, err := pg.Open(pg.Config{URL: s.URL(s.SuperUser(), "postgres")})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// Nobody ran keys init there: Postgres's own defaults are exposed, too.
	want(other, "every login of the server", "max_prepared_transactions is 5")
}
