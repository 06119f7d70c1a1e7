package ingestcmd

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/rogpeppe/go-internal/testscript"

	"cloakroom/dataset"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/internal/sandbox/s3server"
	"cloakroom/internal/sandbox/sqsserver"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

func TestMain(m *testing.M) {
	testscript.Main(withPostgres{m}, map[string]func(){"ingest": Main})
}

// withPostgres stops the shared server after the tests.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return pgtest.Run(w.m) }

// fixture is what one script runs in.
type fixture struct {
	*keystest.Env
	sqs *sqsserver.Server
	kms *kmsserver.Server
	s3  *s3server.Server
}

const deadLetters = "arn:aws:sqs:us-east-1:000000000000:dead"

func newFixture(t *testing.T) *fixture {
	policies := s3server.Roles()
	policies["reader"] = s3server.Policy{"s3:GetObject"} // and may not list
	w := &fixture{
		Env: keystest.New(t), sqs: sqsserver.New(sqsserver.Config{}), kms: kmsserver.New(kmsserver.Config{}),
		s3: s3server.New(s3server.Config{Policies: policies}),
	}
	if err := errors.Join(w.sqs.Start(), w.kms.Start(), w.s3.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.sqs.Close(); w.kms.Close(); w.s3.Close() })
	w.s3.CreateBucket("archive", true)
	w.s3.CreateBucket("plain", false)
	for _, queue := range []struct {
		name       string
		attributes map[string]string
	}{
		{"dead", nil},
		{"logins", map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"` + deadLetters + `","maxReceiveCount":5}`}},
		{"hasty", map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"` + deadLetters + `","maxReceiveCount":"3"}`}},
		{"plain", nil},
	} {
		if _, err := w.sqs.CreateQueue(queue.name, queue.attributes); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// TestScripts runs the real command: INGEST is the DATABASE_URL of a login that may ingest, NOBODY of one that may
// nothing, BOTH of one that reads tokens as well, SUPER the superuser's. QUEUES is where the queues logins (five receives
// before the dead-letter queue), hasty (three) and plain (no such queue) stand, KMS a KMS without a key, S3 an S3
// with the buckets archive, which keeps versions, and plain, of which the access key reader may read objects, and BUSY an address
// on which something listens.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			w := newFixture(t)
			variables := map[string]string{
				"INGEST": w.As(t, "ingest", "ingest"), "NOBODY": w.As(t, "nobody"), "SUPER": w.URL(""),
				"BOTH": w.As(t, "both", "ingest", "analyst"),
				"KMS":  w.kms.URL(), "S3": w.s3.URL(), "BUSY": strings.TrimPrefix(w.sqs.URL(), "http://"),
				"QUEUES": w.sqs.QueueURL(""), "CLOAKROOM_KEK": w.KEK,
				"AWS_ENDPOINT_URL_SQS": w.sqs.URL(), "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:1",
				"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "ingest", "AWS_SECRET_ACCESS_KEY": "a secret of sixteen and more",
				"GOCOVERDIR": os.Getenv("GOCOVERDIR"),
			}
			testscript.Run(t, testscript.Params{
				Files: []string{script}, RequireExplicitExec: true, RequireUniqueNames: true,
				Setup: func(env *testscript.Env) error {
					for name, value := range variables {
						env.Setenv(name, value)
					}
					return nil
				},
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"exits": exits, "writefile": writeFile, "sql": w.sql, "statement": w.statement, "send": w.send, "queued": w.queued, "dataset": w.dataset,
					"object": w.object, "objects": w.objects,
				},
			})
		})
	}
}

// exits CODE COMMAND… runs a command and wants its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGUMENTS")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s exits %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// writefile FILE TEXT writes a file, for text with a variable in it; \n begins a line.
func writeFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(args[1], `\n`, "\n")+"\n"), 0o600))
}

// sql WANT QUERY… wants a query's one value, as text.
func (w *fixture) sql(ts *testscript.TestScript, neg bool, args []string) {
	db, err := sqlx.Connect("postgres", w.URL(""))
	ts.Check(err)
	defer db.Close()
	var got string
	ts.Check(db.Get(&got, strings.Join(args[1:], " ")))
	if neg || got != args[0] {
		ts.Fatalf("%s: %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// dataset FILE applies a dataset.
func (w *fixture) dataset(ts *testscript.TestScript, _ bool, args []string) {
	d, err := dataset.Parse([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	_, err = keys.ApplyDataset(context.Background(), w.URL(""), d)
	ts.Check(err)
}

// statement SQL… runs a statement as the superuser.
func (w *fixture) statement(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sqlx.Connect("postgres", w.URL(""))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(strings.Join(args, " "))
	ts.Check(err)
}

// send QUEUE FILE puts each line of a file on a queue.
func (w *fixture) send(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		ts.Check(w.sqs.Put(args[0], sqsserver.Message{Body: strings.TrimSpace(line)}))
	}
}

// objects BUCKET N wants that many objects.
func (w *fixture) objects(ts *testscript.TestScript, _ bool, args []string) {
	if keys := w.s3.Keys(args[0]); strconv.Itoa(len(keys)) != args[1] {
		ts.Fatalf("bucket %s holds %v, want %s", args[0], keys, args[1])
	}
}

// object BUCKET KEY FILE puts a file into a bucket, written on 2026-01-05. A FILE in .gz that is not there is made of the
// file without it; cut.….gz is c.… packed without its end.
func (w *fixture) object(ts *testscript.TestScript, _ bool, args []string) {
	name, packed := strings.CutSuffix(args[2], ".gz")
	name, cut := strings.CutPrefix(name, "cut.")
	if cut {
		name = "c." + name
	}
	body := []byte(ts.ReadFile(name))
	if packed {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		for line := range bytes.Lines(body) {
			z.Write(line)
			z.Flush() // so that what is cut off is the last line
		}
		ts.Check(z.Close())
		if body = out.Bytes(); cut {
			body = body[:len(body)-20]
		}
	}
	_, err := w.s3.Put(args[0], args[1], s3server.Object{
		Body: body, Modified: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC),
	})
	ts.Check(err)
}

// queued QUEUE N wants that many visible messages, and none in flight.
func (w *fixture) queued(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	if c := w.sqs.Counts(args[0]); c.Visible != n || c.Total() != n {
		ts.Fatalf("queue %s counts %+v, want %d visible", args[0], c, n)
	}
}
