package source_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/etl/source"
	"cloakroom/internal/objects"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/s3server"
	"cloakroom/keys/keystest"
)

// archive is an S3 with a bucket "b", which keeps no versions, and "v", which does.
func archive(t *testing.T) *s3server.Server {
	t.Helper()
	s := s3server.New(s3server.Config{Policies: s3server.Roles()})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.CreateBucket("b", false)
	s.CreateBucket("v", true)
	for name, value := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": s.URL(), "AWS_ACCESS_KEY_ID": "ingest",
		"AWS_SECRET_ACCESS_KEY": "a secret of sixteen and more", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	return s
}

var written = time.Date(2026, 7, 3, 23, 59, 59, 0, time.UTC)

func put(t *testing.T, s *s3server.Server, bucket, key, text string) {
	t.Helper()
	if _, err := s.Put(bucket, key, s3server.Object{Body: []byte(text), Modified: written}); err != nil {
		t.Fatal(err)
	}
}

func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text) // into memory
	_ = z.Close()
	return b.String()
}

func options(bucket string) source.S3Options {
	return source.S3Options{Bucket: bucket, MaxOutage: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
}

// backfill reads a bucket into the database.
func backfill(t *testing.T, w *etl.Writer, o source.S3Options) (etl.Summary, source.S3Counts, error) {
	t.Helper()
	from, err := source.OpenS3(t.Context(), w, o)
	if err != nil {
		return etl.Summary{}, source.S3Counts{}, err
	}
	done, err := etl.Run(t.Context(), w, from, etl.Options{MaxOutage: o.MaxOutage, Log: o.Log})
	from.Close(context.Background())
	return done, from.Counts(), err
}

// Bodies cut anywhere, refusals and failures: each event is taken once, with the id and the date that it has without
// them.
func TestS3ThroughFaults(t *testing.T) {
	s := archive(t)
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	put(t, s, "b", "lines", lines(0, 3000))
	put(t, s, "b", "packed.gz", packed(lines(3000, 6000)))
	// Two packed files one after the other are one.
	put(t, s, "b", "packed twice", packed(lines(6000, 6010))+packed(lines(6010, 6020)))
	var array strings.Builder
	for n := range 50 {
		fmt.Fprintf(&array, ",\n%s", etltest.LoginBody(7000+n))
	}
	put(t, s, "b", "array", "["+array.String()[1:]+"]")
	for _, f := range []awswire.Fault{
		{Op: "GetObject", Cut: 5_003, Times: 20},
		{Op: "GetObject", Error: s3server.ErrSlowDown, Times: 2},
		{Op: "GetObject", Error: s3server.ErrAccessDenied, Times: 2},
		{Op: "GetObject", Drop: true, Times: 2},
		{Op: "ListObjectVersions", Skip: 1, Times: 2, Error: s3server.ErrInternal},
	} {
		s.Inject(f)
	}
	done, counts, err := backfill(t, w, options("b"))
	if err != nil || done.Stored != 6070 || done.Received != 6070 || counts.Read != 4 {
		t.Fatalf("%+v, %+v, %v", done, counts, err)
	}
	if calls := s.Calls("GetObject"); calls < 26 {
		t.Errorf("only %d reads: not all faults met one", calls)
	}
	rows := etltest.NewOpener(t, env).Rows(t)
	name := "s3://b/packed.gz#etag:"
	var full string
	if err := env.Open(t, "").Get(&full, `SELECT name FROM cloakroom.sources WHERE name LIKE $1`, name+"%"); err != nil {
		t.Fatal(err)
	}
	row, ok := rows[etl.FileEventID(full, 17)]
	if !ok || row.UserID != "user-3017" || row.Date.Format(time.DateOnly) != "2026-07-03" {
		t.Errorf("event 17 of the packed object: %+v, there: %v", row, ok)
	}
	s.ClearFaults()
	again, counts, err := backfill(t, w, options("b"))
	if err != nil || again.Received != 0 || counts.ReadBefore != 4 || counts.Bytes != 0 {
		t.Errorf("again: %+v, %+v, %v", again, counts, err)
	}
}

// A run that gives up in the middle of an object has stored what stands before, and the next one goes on there.
func TestS3GoesOn(t *testing.T) {
	s := archive(t)
	w := etltest.NewWriter(t, keystest.New(t), "ingest")
	put(t, s, "v", "a", lines(0, 5000))
	// The first 300 kB come, then nothing more does.
	s.Inject(awswire.Fault{Op: "GetObject", Times: 1, Cut: 300_000})
	s.Inject(awswire.Fault{Op: "GetObject", Error: s3server.ErrAccessDenied})
	o := options("v")
	o.MaxOutage = 500 * time.Millisecond
	first, counts, err := backfill(t, w, o)
	if !errors.Is(err, etl.ErrGaveUp) || !strings.Contains(fmt.Sprint(err), "allow s3:GetObjectVersion") ||
		!strings.Contains(fmt.Sprint(err), "s3://v/a#") {
		t.Errorf("gave up with %v", err)
	}
	if first.Stored < 1000 || first.Stored > 4000 || counts.Read != 0 {
		t.Fatalf("%+v, %+v: want a part stored", first, counts)
	}
	s.ClearFaults()
	second, counts, err := backfill(t, w, o)
	if err != nil || second.Received != 5000-first.Stored || second.Stored != second.Received ||
		counts.EventsBefore != first.Stored {
		t.Errorf("after %d: %+v, %+v, %v", first.Stored, second, counts, err)
	}
}

// What is wrong with one object stops no other.
func TestS3BrokenObjects(t *testing.T) {
	s := archive(t)
	w := etltest.NewWriter(t, keystest.New(t), "ingest")
	whole := packed(lines(0, 100))
	for key, object := range map[string]string{
		"cut":   whole[:len(whole)-10],
		"bits":  whole[:len(whole)/2] + "XXXXXXXX" + whole[len(whole)/2+8:],
		"array": "[" + etltest.LoginBody(200) + "," + etltest.LoginBody(201),
		"bomb":  packed(etltest.LoginBody(300) + "\n" + strings.Repeat(" ", 64<<20)),
		"fine":  lines(400, 410),
		"empty": "", "empty.gz": packed(""), "folder/": "",
	} {
		put(t, s, "b", key, object)
	}
	put(t, s, "b", "old", "x")
	s.Inject(awswire.Fault{Op: "GetObject", Resource: "b/old", Error: s3server.ErrArchived})
	done, counts, err := backfill(t, w, options("b"))
	if err != nil || counts.Read != 4 || counts.Failed != 5 || counts.FirstFailure == "" {
		t.Errorf("%+v, %+v, %v", done, counts, err)
	}
	if done.Stored < 10+2+1 {
		t.Errorf("%+v: what stands before a break is missing", done)
	}
	// They are not finished, and their first events are not read again.
	again, counts, err := backfill(t, w, options("b"))
	if err != nil || counts.ReadBefore != 4 || counts.Failed != 5 || again.Stored != 0 || again.Received != 0 {
		t.Errorf("again: %+v, %+v, %v", again, counts, err)
	}
	// The long line is named, and not held.
	o := options("b")
	o.Prefix = "bomb"
	_, counts, err = backfill(t, w, o)
	if err != nil || !strings.HasPrefix(counts.FirstFailure, "s3://b/bomb#etag:") ||
		!strings.HasSuffix(counts.FirstFailure, ": line 2: it is longer than 16 MiB") {
		t.Errorf("%q, %v", counts.FirstFailure, err)
	}
}

// An object that is deleted or overwritten between listing and reading is left out and counted.
func TestS3ObjectsThatGo(t *testing.T) {
	s := archive(t)
	w := etltest.NewWriter(t, keystest.New(t), "ingest")
	put(t, s, "b", "changed", lines(0, 10))
	put(t, s, "b", "deleted", lines(10, 20))
	put(t, s, "b", "stays", lines(20, 30))
	put(t, s, "v", "changed", lines(30, 40))
	s.Inject(awswire.Fault{Op: "GetObject", Delay: 500 * time.Millisecond})
	time.AfterFunc(100*time.Millisecond, func() {
		put(t, s, "b", "changed", lines(40, 50))
		_ = s.Delete("b", "deleted")
		put(t, s, "v", "changed", lines(50, 60))
	})
	done, counts, err := backfill(t, w, options("b"))
	if err != nil || done.Stored != 10 || counts.Changed != 1 || counts.Deleted != 1 || counts.Read != 1 {
		t.Errorf("%+v, %+v, %v", done, counts, err)
	}
	s.ClearFaults()
	again, counts, err := backfill(t, w, options("b"))
	if err != nil || again.Stored != 10 || counts.Read != 1 || counts.ReadBefore != 1 {
		t.Errorf("again: %+v, %+v, %v", again, counts, err)
	}
	// A version is there still.
	_, counts, err = backfill(t, w, options("v"))
	if err != nil || counts.Read != 1 || counts.Changed != 0 {
		t.Errorf("with versions: %+v, %v", counts, err)
	}
}

// The date that the first run fixed is kept, whatever LastModified becomes, and another one is refused.
func TestS3DateIsFixed(t *testing.T) {
	s := archive(t)
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	put(t, s, "b", "a", lines(0, 10)+"[")
	put(t, s, "b", "broken", "["+etltest.LoginBody(20))
	if _, _, err := backfill(t, w, options("b")); err != nil {
		t.Fatal(err)
	}
	// The same bytes, written again today: the same object.
	for _, key := range []string{"a", "broken"} {
		text := map[string]string{"a": lines(0, 10) + "[", "broken": "[" + etltest.LoginBody(20)}[key]
		if _, err := s.Put("b", key, s3server.Object{Body: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	done, counts, err := backfill(t, w, options("b"))
	if err != nil || done.Received != 0 || counts.ReadBefore != 1 {
		t.Errorf("again: %+v, %+v, %v", done, counts, err)
	}
	var dates []string
	if err := env.Open(t, "").Select(&dates, `SELECT DISTINCT create_date::text FROM cloakroom_data.user_logins`); err != nil {
		t.Fatal(err)
	}
	if len(dates) != 1 || dates[0] != "2026-07-03" {
		t.Errorf("dates %v, want 2026-07-03", dates)
	}
	o := options("b")
	o.Date = written.AddDate(0, 0, 1).Truncate(24 * time.Hour)
	if _, _, err := backfill(t, w, o); err == nil || !strings.Contains(err.Error(), "fixed the date 2026-07-03") {
		t.Errorf("with another date: %v", err)
	}
}

// A mended copy of a broken object, read as a file of the object's name, adds the rest.
func TestS3BrokenObjectIsMended(t *testing.T) {
	s := archive(t)
	w := etltest.NewWriter(t, keystest.New(t), "ingest")
	text := lines(0, 900)
	put(t, s, "b", "a.gz", packed(text)[:8000])
	first, counts, err := backfill(t, w, options("b"))
	if err != nil || counts.Failed != 1 || first.Stored < 50 || first.Stored > 850 {
		t.Fatalf("%+v, %+v, %v", first, counts, err)
	}
	name, _, _ := strings.Cut(counts.FirstFailure, ": line")
	mended, err := ingest(t, w, source.FileOptions{Path: write(t, text, time.Now()), Name: name})
	if err != nil || mended.Stored != 900-first.Stored || mended.Duplicates != first.Stored {
		t.Errorf("after %d: %+v, %v", first.Stored, mended, err)
	}
}

// Where nobody takes what was read, no more objects are opened than are read at once.
func TestS3ReadsNoFurtherThanItIsTaken(t *testing.T) {
	s := archive(t)
	for n := range 40 {
		put(t, s, "b", fmt.Sprintf("%02d", n), lines(n*600, n*600+600))
	}
	o := options("b")
	o.Readers, o.DryRun = 3, true
	from, err := source.OpenS3(t.Context(), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if calls := s.Calls("GetObject"); calls != 3 {
		t.Errorf("%d objects were opened, want 3", calls)
	}
	from.Close(t.Context())
}

// An object's name, and so its events' ids, never change.
func TestObjectNames(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]objects.Info{
		"s3://b/k#3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY": {Key: "k", Version: "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", ETag: `"e"`},
		"s3://b/k/l#m#etag:9bb58f26192e4ba00f01e2e7b136bbd8-5": {
			Key: "k/l#m", Version: objects.NullVersion, ETag: `"9bb58f26192e4ba00f01e2e7b136bbd8-5"`,
		},
		"s3://b/ü#etag:e": {Key: "ü", ETag: `"e"`},
	} {
		if got := source.ObjectName("b", o); got != want {
			t.Errorf("%+v is called %s, want %s", o, got, want)
		}
	}
	// UUIDv5 of RFC 9562, as another implementation has it: docs/format.md.
	const id = "8905df58-cd08-5efb-9e94-642caac2f7da"
	if got := etl.FileEventID("s3://b/k#3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", 2); got != uuid.MustParse(id) {
		t.Errorf("the third event has id %s, want %s", got, id)
	}
	for from, want := range map[string][2]string{
		"s3://b": {"b", ""}, "s3://b/": {"b", ""}, "s3://b/p/q/": {"b", "p/q/"}, "s3://": {}, "s3:///p": {}, "b/p": {},
	} {
		bucket, prefix, ok := source.ParseS3(from)
		if ok != (want[0] != "") || ok && (bucket != want[0] || prefix != want[1]) {
			t.Errorf("%s is bucket %q, prefix %q, %v", from, bucket, prefix, ok)
		}
	}
}
