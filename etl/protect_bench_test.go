package etl

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// benchMessages are logins of which each has its own user, address and device.
func benchMessages(n int) []*Message {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	out := make([]*Message, n)
	for i := range out {
		out[i] = &Message{ID: uuid.New(), Sent: today, DayOnly: true, Receives: 1, Body: fmt.Appendf(nil,
			`{"user_id":"c0173198-76a8-4e67-bfc2-%012d","app_version":"2.3.%d","device_type":"android","ip":"10.%d.%d.%d","locale":"RU","device_id":"%03d-%02d-%04d"}`,
			i, i%1000, i>>16&255, i>>8&255, i&255, i/1_000_000%1000, i/10_000%100, i%10_000)}
	}
	return out
}

// BenchmarkProtect decodes, normalises, makes two tokens, seals twice and writes the row for COPY:
// per event, on one core.
func BenchmarkProtect(b *testing.B) {
	w := newWriter(b, keystest.New(b))
	messages := benchMessages(2000)
	p := NewProtector(w)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += len(messages) {
		batch, err := p.Protect(b.Context(), messages[:min(len(messages), b.N-done)])
		if err != nil {
			b.Fatal(err)
		}
		batch.Release()
	}
}

// BenchmarkLoad commits batches of 2,000 sealed rows, one connection: per row. BenchmarkCopy is its
// yardstick: COPY of the same rows straight into the partitioned table, without staging, fence,
// checks and order, which a superuser can.
func BenchmarkLoad(b *testing.B) {
	w := newWriter(b, keystest.New(b))
	l := NewLoader(w)
	defer l.Close()
	eachBatch(b, w, func(sealed *Batch) error {
		_, err := l.load(b.Context(), sealed)
		return err
	})
}

func BenchmarkCopy(b *testing.B) {
	env := keystest.New(b)
	w := newWriter(b, env)
	conn, err := env.Open(b, "").Connx(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	l := &session{conn: conn}
	eachBatch(b, w, func(sealed *Batch) error {
		tx, err := conn.BeginTxx(b.Context(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := l.copyIn(b.Context(), strings.Replace(sealed.parts[0].copyRows, `pg_temp."stage_login"`, "cloakroom_data.user_logins", 1), sealed.parts[0].rows); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// eachBatch hands over batches of fresh rows until b.N rows are done, and measures that alone.
func eachBatch(b *testing.B, w *Writer, do func(*Batch) error) {
	p := NewProtector(w)
	const rows = 2000
	b.StopTimer()
	for done := 0; done < b.N; done += rows {
		sealed, err := p.Protect(b.Context(), benchMessages(min(rows, b.N-done)))
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		err = do(sealed)
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		sealed.Release()
	}
}

// newWriter is etltest.NewWriter, which a test inside the package cannot use.
func newWriter(t testing.TB, env *keystest.Env) *Writer {
	t.Helper()
	w, err := NewWriter(t.Context(), env.Vault(t, env.As(t, "ingest", "ingest")), nil, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}
