package rotation_test

import (
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/etl/etltest"
	"cloakroom/keys/rotation"
)

// A batch finds its rows by an index even in a month without statistics. A sequential scan would
// read the whole month for each batch.
func TestMonthWithoutStatistics(t *testing.T) {
	t.Parallel()
	const rows, batchRows = 5000, 100
	today := etltest.Today()
	nextMonth := today.AddDate(0, 1, 1-today.Day())
	reindex := func(s *fixture, o rotation.Options) error {
		_, err := rotation.Reindex(t.Context(), s.vault, o)
		return err
	}
	for name, step := range map[string]func(*fixture, rotation.Options) error{
		"reindex":                         reindex,
		"reindex after an empty analysis": reindex,
		"reseal": func(s *fixture, o rotation.Options) error {
			_, err := rotation.Reseal(t.Context(), s.vault, o)
			return err
		},
		"shred": func(s *fixture, o rotation.Options) error {
			_, err := rotation.Shred(t.Context(), s.vault, nextMonth, o)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t, 0)
			admin := s.Open(t, "")
			var part string
			if err := admin.Get(&part, `SELECT format('cloakroom_data.user_logins_%s', to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM'))`); err != nil {
				t.Fatal(err)
			}
			admin.MustExec(`ALTER TABLE ` + part + ` SET (autovacuum_enabled = off)`)
			if name == "reindex after an empty analysis" {
				admin.MustExec(`ANALYZE ` + part)
			}
			admin.MustExec(`SELECT cloakroom.set_policy('shred_before', $1)`, nextMonth.Format(time.DateOnly))
			s.ingest(t, etltest.Logins(0, rows))
			if err := step(s, rotation.Options{Force: true, Workers: 1, BatchRows: batchRows,
				Owner: s.owner(t)}); err != nil {
				t.Fatal(err)
			}
			s.vault.DB.Close() // a backend reports its statistics when it ends
			if n := rowsRead(t, admin, part); n < rows || n > 10*rows {
				t.Errorf("%d rows were read to store and change %d, want each a few times", n, rows)
			}
		})
	}
}

// rowsRead is how many rows of a table were read so far. It waits until every backend has reported.
func rowsRead(t *testing.T, db *sqlx.DB, table string) int {
	t.Helper()
	last := -1
	for {
		var n int
		if err := db.Get(&n, `SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_all_tables WHERE relid = $1::regclass`,
			table); err != nil {
			t.Fatal(err)
		}
		if n == last {
			return n
		}
		last = n
		time.Sleep(1200 * time.Millisecond) // a backend reports at most once a second
	}
}
