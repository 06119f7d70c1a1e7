package rotation_test

import (
	"testing"
	"time"

	"cloakroom/etl/etltest"
	"cloakroom/keys/rotation"
)

// BenchmarkRates compares reseal and backfill with a bare UPDATE of the same columns in batches of
// the same size, all in one run: go test -bench Rates -benchtime 1x
func BenchmarkRates(b *testing.B) {
	const rows = 50_000
	for range b.N {
		s := newFixture(b, 0)
		s.ingest(b, etltest.Logins(0, rows))
		db := s.Open(b, "")
		db.MustExec(`VACUUM ANALYZE cloakroom_data.user_logins`)
		bare := func(set string) float64 {
			db.MustExec(`CREATE TEMP TABLE IF NOT EXISTS work AS SELECT row_id, create_date, row_number() OVER (ORDER BY row_id) AS n FROM cloakroom_data.user_logins`)
			began := time.Now()
			for from := 0; from < rows; from += 2000 {
				db.MustExec(`UPDATE cloakroom_data.user_logins u SET `+set+` FROM work w WHERE w.n > $1 AND w.n <= $2 AND u.row_id = w.row_id AND u.create_date = w.create_date`, from, from+2000)
			}
			return rows / time.Since(began).Seconds()
		}
		db.SetMaxOpenConns(1)
		base := bare(`sealed_ip = sealed_ip || ''::bytea, sealed_device_id = sealed_device_id || ''::bytea, data_key = data_key`)
		db.MustExec(`VACUUM cloakroom_data.user_logins`)
		began := time.Now()
		report, err := rotation.Reseal(b.Context(), s.vault, rotation.Options{Force: true})
		if err != nil || report.Resealed != rows {
			b.Fatalf("%+v (%v)", report, err)
		}
		reseal := rows / time.Since(began).Seconds()
		db.MustExec(`VACUUM cloakroom_data.user_logins`)

		db.MustExec(`ALTER TABLE cloakroom_data.user_logins ADD COLUMN bare_a varchar(256), ADD COLUMN bare_b varchar(256)`)
		baseTokens := bare(`bare_a = masked_ip_v1, bare_b = masked_device_id_v1`)
		db.MustExec(`ALTER TABLE cloakroom_data.user_logins DROP COLUMN bare_a, DROP COLUMN bare_b`)
		db.MustExec(`VACUUM cloakroom_data.user_logins`)
		first, last := time.Time{}, time.Time{}
		began = time.Now()
		_, err = rotation.Reindex(b.Context(), s.vault, rotation.Options{Workers: 2,
			Progress: func(p rotation.Progress) {
				if p.Step == "backfill" {
					if first.IsZero() {
						first = began
					}
					last = time.Now()
				}
			}})
		if err != nil {
			b.Fatal(err)
		}
		backfill := rows / last.Sub(first).Seconds()
		b.ReportMetric(base, "bare-rows/s")
		b.ReportMetric(reseal, "reseal-rows/s")
		b.ReportMetric(reseal/base, "reseal-ratio")
		b.ReportMetric(backfill, "backfill-rows/s")
		b.ReportMetric(backfill/baseTokens, "backfill-ratio")
		b.ReportMetric(rows/time.Since(began).Seconds(), "reindex-whole-rows/s")
	}
}
