package rotation_test

import (
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/keys/rotation"
)

// owner connects as the owner, as keys reindex does with --owner-url.
func (s *fixture) owner(t testing.TB) *sqlx.DB {
	t.Helper()
	if s.asOwner != nil {
		return s.asOwner
	}
	db, err := pg.Open(pg.Config{URL: s.URL(""), Role: pg.Owner, StatementTimeout: -1, LockTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s.asOwner = db
	return db
}

func TestReindex(t *testing.T) {
	t.Parallel()
	for name, concurrently := range map[string]bool{"in functions": false, "concurrently": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t, 3000)
			o := rotation.Options{}
			if concurrently {
				o.Owner = s.owner(t)
			}
			for version := uint32(2); version < 4; version++ {
				report, err := rotation.Reindex(t.Context(), s.vault, o)
				if err != nil {
					t.Fatal(err)
				}
				if r := report.Reindexed; r.From != version-1 || r.To != version || r.Rows != 3000+100*int64(version-2) {
					t.Errorf("report: %+v", *r)
				}
				s.verify(t, 3000+100*int(version-2))
				// The daemon has the old columns in mind.
				s.ingest(t, etltest.Logins(3000+100*int(version-2), 3000+100*int(version-1)))
				s.verify(t, 3000+100*int(version-1))
			}
			db := s.Open(t, "")
			var columns []string
			if err := db.Select(&columns, `SELECT attname FROM pg_attribute WHERE attrelid = 'cloakroom_data.user_logins'::regclass AND attnum > 0 AND NOT attisdropped AND attname LIKE 'masked%' ORDER BY 1`); err != nil {
				t.Fatal(err)
			}
			if len(columns) != 2 || columns[0] != "masked_device_id_v3" {
				t.Errorf("token columns: %v", columns)
			}
			var invalid, indexes int
			if err := db.QueryRow(`SELECT count(*), count(*) FILTER (WHERE NOT indisvalid) FROM pg_index WHERE indexrelid::regclass::text LIKE 'cloakroom_data.user_logins%masked%'`).Scan(&indexes, &invalid); err != nil {
				t.Fatal(err)
			}
			if invalid > 0 || indexes != 2*5 {
				t.Errorf("%d indexes on tokens, %d invalid", indexes, invalid)
			}
		})
	}
}

// A client of an ingest login's own stores a row without the new token, after the tokens were made and before the CHECK
// holds new rows to it. The reindex makes that token too, and ends.
func TestReindexMakesATokenThatCameToBeMissing(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 300)
	db := s.Open(t, "")
	var once sync.Once
	o := rotation.Options{Workers: 1}.WithHook(func(string) {
		var phase string
		if db.Get(&phase, `SELECT phase FROM cloakroom.rotations WHERE step = 'reindex'`) != nil || phase != "indexes" {
			return
		}
		once.Do(func() {
			db.MustExec(`UPDATE cloakroom_data.user_logins SET masked_ip_v2 = NULL, masked_device_id_v2 = NULL
				WHERE row_id = (SELECT min(row_id::text)::uuid FROM cloakroom_data.user_logins)`)
		})
	})
	if _, err := rotation.Reindex(t.Context(), s.vault, o); err != nil {
		t.Fatal(err)
	}
	once.Do(func() { t.Error("phase indexes was never seen") })
	s.verify(t, 300)
}
