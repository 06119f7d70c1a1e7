package recovercmd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/keys"
	recovery "cloakroom/recover"
	"cloakroom/test/long"
)

// bulk stores a number of logins of one user, and a number of them under each data key.
func (c *fixture) bulk(t testing.TB, rows, rowsPerKey int) {
	t.Helper()
	v := c.Vault(t, c.As(t, "bulk", "ingest"))
	perRow := uint64(len(dataset.Login().Protected()))
	w, err := etl.NewWriter(t.Context(), v, nil, keys.Caps{Seals: perRow * uint64(rowsPerKey)})
	if err != nil {
		t.Fatal(err)
	}
	var messages []*etl.Message
	for n := range rows {
		messages = append(messages, login("bulk", fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255), fmt.Sprintf("device-%d", n%1000)))
	}
	s, err := etl.Run(t.Context(), w, &slice{messages}, etl.Options{BatchRows: rowsPerKey})
	if err != nil || s.Stored != int64(rows) {
		t.Fatalf("ingest: %v, %+v", err, s)
	}
	c.admin.MustExec(`UPDATE cloakroom.settings SET row_limit = 1000000, daily_quota = 100000000`)
	c.admin.MustExec(`ANALYZE cloakroom_data.user_logins`)
}

// bareSelect reads the same rows and columns as an opening does, and does nothing with them.
func (c *fixture) bareSelect(t testing.TB) time.Duration {
	t.Helper()
	began := time.Now()
	rows, err := c.admin.Query(`SELECT row_id, create_date, user_id, data_key, sealed_ip, sealed_device_id, masked_ip_v1, masked_device_id_v1
		FROM cloakroom_data.user_logins WHERE user_id = 'bulk'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	values := make([][]byte, 8)
	into := make([]any, 8)
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// TestOpenAtScale opens many rows under many data keys with little memory, so that the spool goes
// to disk.
func TestOpenAtScale(t *testing.T) {
	rows, perKey := 5_000, 100
	if long.Asked() {
		rows = 100_000
	}
	c := newFixture(t)
	c.bulk(t, rows, perKey)
	t.Setenv("TMPDIR", t.TempDir())
	if keys := c.count(t, `SELECT count(*) FROM cloakroom.data_keys`); keys < rows/perKey {
		t.Fatalf("%d data keys, want %d", keys, rows/perKey)
	}
	opened, err := c.alice.Open(t.Context(), c.approved(t, ofBulk), recovery.OpenOptions{Memory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.Rows != int64(rows) {
		t.Errorf("%d rows opened, want %d", opened.Rows, rows)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); runtime.GOOS == "linux" && (err != nil || len(left) > 0) {
		t.Errorf("a name in the temporary directory: %v, %v", left, err)
	}
	var out bytes.Buffer
	if err := (encoding{format: "csv"}).write(&out, opened); err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(out.Bytes(), []byte("\n")); lines != rows+1 {
		t.Errorf("%d lines, want %d and a header", lines, rows)
	}
	for _, format := range []string{"json", "table"} {
		if err := (encoding{format: format}).write(io.Discard, opened); err != nil {
			t.Fatal(err)
		}
	}
}

// ofBulk asks for the rows that bulk stored.
var ofBulk = params(func(a *recovery.RequestParams) { a.Subject = "bulk" })

// BenchmarkOpen opens 100,000 rows under 1,000 data keys, each time beside a bare SELECT of the
// same rows, and reports the medians' ratio: go test -run XXX -bench Open -benchtime 5x
// ./cmd/recover/recovercmd
func BenchmarkOpen(b *testing.B) {
	const rows, perKey = 100_000, 100
	c := newFixture(b)
	c.bulk(b, rows, perKey)
	c.bareSelect(b)
	var selects, opens []time.Duration
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		selects = append(selects, c.bareSelect(b))
		id := c.approved(b, ofBulk)
		b.StartTimer()
		began := time.Now()
		opened, err := c.alice.Open(b.Context(), id, recovery.OpenOptions{})
		if err != nil || opened.Rows != rows {
			b.Fatalf("opening: %v", err)
		}
		opens = append(opens, time.Since(began))
		opened.Close()
	}
	bare, open := median(selects), median(opens)
	b.ReportMetric(rows/bare.Seconds(), "bare-rows/s")
	b.ReportMetric(rows/open.Seconds(), "rows/s")
	b.ReportMetric(bare.Seconds()/open.Seconds(), "ratio")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
