package rotation_test

import (
	"testing"
	"time"

	"cloakroom/etl/etltest"
	"cloakroom/keys"
)

// BenchmarkPages reads 50,000 rows page by page, as verify does: go test -bench Pages -benchtime 5x
func BenchmarkPages(b *testing.B) {
	const rows = 50_000
	s := newFixture(b, 0)
	s.ingest(b, etltest.Logins(0, rows))
	s.Open(b, "").MustExec(`VACUUM ANALYZE cloakroom_data.user_logins`)
	part := keys.MonthOf(etltest.Today())
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		after, id := part.Add(-time.Microsecond), "ffffffff-ffff-ffff-ffff-ffffffffffff"
		for {
			found, err := s.vault.DB.QueryContext(b.Context(), `SELECT `+keys.RowColumns+` FROM cloakroom.scan_rows($1, $2, $3, $4, '{1}', $5)`,
				"login", part, after, id, 2000)
			if err != nil {
				b.Fatal(err)
			}
			page, err := keys.AppendRows(nil, found, 1)
			if err != nil {
				b.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			n += len(page)
			after, id = page[len(page)-1].Sent, page[len(page)-1].ID.String()
		}
		if n != rows {
			b.Fatalf("%d rows", n)
		}

	}
}
