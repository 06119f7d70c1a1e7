package chaos

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/s3server"
)

// backfill puts objects under three prefixes: lines, lines in gzip, and arrays, some in a bucket with versions and some
// in one without. Their events are the ledger's.
func (r *rig) backfill(objects, events int) {
	r.Helper()
	for bucket, versioned := range map[string]bool{"versions": true, "plain": false} {
		r.s3.CreateBucket(bucket, versioned)
		for n := range objects {
			forms := []struct {
				key  string
				make func(bodies []string) []byte
			}{
				{"lines/%d.jsonl", func(bodies []string) []byte { return []byte(strings.Join(bodies, "\n") + "\n\n") }},
				{"packed/%d.gz", func(bodies []string) []byte {
					var out bytes.Buffer
					z := gzip.NewWriter(&out)
					_, _ = z.Write([]byte(strings.Join(bodies, "\n"))) // into memory
					_ = z.Close()
					return out.Bytes()
				}},
				{"arrays/%d.json", func(bodies []string) []byte { return []byte("[" + strings.Join(bodies, ",\n") + "]") }},
			}
			form := forms[n%len(forms)]
			var bodies []string
			var made []event
			for range events {
				e := newEvent(len(r.sent) + len(made))
				bodies, made = append(bodies, e.body), append(made, e)
			}
			key, body := fmt.Sprintf(form.key, n), form.make(bodies)
			version, err := r.s3.Put(bucket, key, s3server.Object{
				Body: body, Modified: time.Now().Add(-time.Duration(n%4) * 24 * time.Hour),
			})
			if err != nil {
				r.Fatal(err)
			}
			if !versioned {
				version = "etag:" + r.s3.ETag(bucket, key)
			}
			name := fmt.Sprintf("s3://%s/%s#%s", bucket, key, version)
			for i, e := range made {
				r.sent[etl.FileEventID(name, int64(i)).String()] = e
			}
		}
	}
}

// A backfill that is asked to stop commits what it has in hand and exits with 2, as one of a file does; the next run goes
// on.
func TestBackfillStopped(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.backfill(3, 3000)
	path := filepath.Join(t.TempDir(), "events")
	var file strings.Builder
	for n := range 20_000 {
		e := newEvent(len(r.sent))
		fmt.Fprintln(&file, e.body)
		r.sent[etl.FileEventID("file", int64(n)).String()] = e
	}
	r.must(os.WriteFile(path, []byte(file.String()), 0o600))
	sources := [][]string{{"--from", "s3://versions"}, {"--from", path, "--source", "file"}}
	for _, from := range sources {
		before := r.stored()
		p := r.daemon(append(from, "--batch-rows", "10", "--receivers", "1", "--loaders", "1")...)
		r.eventually("something is stored", 20*time.Second, func() bool { return r.stored() > before })
		p.signal(syscall.SIGTERM)
		p.exit(20*time.Second, 2)
		if out := p.out.String(); !strings.Contains(out, "stopped before ") {
			t.Errorf("%s: it printed %s", from, out)
		}
	}
	for _, from := range append(sources, []string{"--from", "s3://plain"}) {
		r.daemon(from...).exit(60*time.Second, 0)
	}
	r.ledger()
}

// A backfill is killed at up to twenty random moments while S3 refuses, fails, is slow and cuts connections; then it is left
// to end. Nothing is lost, nothing is stored twice, and what earlier runs had committed is not read again.
func TestBackfillKilled(t *testing.T) {
	t.Parallel()
	seed, random := seeded(t)
	r := newRig(t, nil)
	r.backfill(12, 1500)
	for _, f := range []awswire.Fault{
		{Op: "GetObject", Fraction: 0.3, Cut: 40_000},
		{Op: "GetObject", Fraction: 0.1, Error: s3server.ErrSlowDown},
		{Op: "GetObject", Fraction: 0.05, Error: s3server.ErrAccessDenied},
		{Op: "GetObject", Fraction: 0.1, Drop: true},
		{Op: "GetObject", Fraction: 0.2, Delay: 200 * time.Millisecond},
		{Op: "ListObjectVersions", Fraction: 0.1, Error: s3server.ErrInternal},
	} {
		r.s3.Inject(f)
	}
	run := func(bucket string) *process {
		return r.daemon("--from", "s3://"+bucket, "--receivers", "3", "--loaders", "1", "--batch-rows", "50")
	}
	buckets := []string{"versions", "plain"}
	kills := 0
	for tries := 0; kills < 20 && tries < 60; tries++ {
		p := run(buckets[tries%2])
		// How far it has come is noted once a second: some are killed before the first time, some after several.
		time.Sleep(between(random, 100*time.Millisecond, 2500*time.Millisecond))
		if p.running() {
			kills++
		}
		p.kill()
	}
	if kills < 10 {
		t.Errorf("only %d kills met a running backfill", kills)
	}
	for _, bucket := range buckets {
		run(bucket).exit(90*time.Second, 0)
	}
	r.ledger()
	r.s3.ClearFaults()
	calls := r.s3.Calls("GetObject")
	for _, bucket := range buckets {
		p := run(bucket)
		p.exit(30*time.Second, 0)
		if out := p.out.String(); !strings.Contains(out, "0 received · 0 stored") ||
			!strings.Contains(out, "0 objects read (0 B) · 12 left out") {
			t.Errorf("once more: %s", out)
		}
	}
	if again := r.s3.Calls("GetObject"); again != calls {
		t.Errorf("%d objects were read again", again-calls)
	}
	t.Logf("%d kills, %d events (seed %d)", kills, len(r.sent), seed)
}
