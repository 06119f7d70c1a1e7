package keyscmd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/rogpeppe/go-internal/testscript"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

func TestMain(m *testing.M) {
	testscript.Main(withPostgres{m}, map[string]func(){"keys": Main})
}

// withPostgres stops the shared server after the tests.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return pgtest.Run(w.m) }

// world is what one script runs in.
type world struct {
	*keystest.Env
	writer *etl.Writer
	stored int
}

// TestScripts runs the real command as a login that holds the rotator's role. OTHER_KEK is a second
// key file, MONTH this month, SUPER and NOBODY are the URLs of the superuser and of a login without
// roles.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			w := &world{Env: keystest.New(t)}
			w.writer = etltest.NewWriter(t, w.Env, "ingest")
			rotator := w.As(t, "rotator", "rotator")
			variables := map[string]string{
				"DATABASE_URL": rotator, "ROTATOR": rotator, "SUPER": w.URL(""), "NOBODY": w.As(t, "nobody"), "CLOAKROOM_KEK": w.KEK,
				"OTHER_KEK":  keystest.WriteKEK(t, []byte("cloakroom cmd/keys: another KEK.")),
				"MONTH":      etltest.Today().Format("2006-01"),
				"GOCOVERDIR": os.Getenv("GOCOVERDIR"),
			}
			w.AddKEK(t, variables["OTHER_KEK"])
			testscript.Run(t, testscript.Params{
				Files: []string{script}, RequireExplicitExec: true, RequireUniqueNames: true,
				Setup: func(env *testscript.Env) error {
					for name, value := range variables {
						env.Setenv(name, value)
					}
					return nil
				},
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"exits": exits, "idof": idOf, "sql": w.sql, "ingest": func(ts *testscript.TestScript, _ bool, args []string) { w.ingest(t, ts, args) },
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

// idof NAME keeps the last command's standard output in the environment.
func idOf(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// sql WANT QUERY… wants a query's one value, as text; a WANT of ! runs a statement.
func (w *world) sql(ts *testscript.TestScript, neg bool, args []string) {
	db, err := sqlx.Connect("postgres", w.URL(""))
	ts.Check(err)
	defer db.Close()
	query := strings.Join(args[1:], " ")
	if args[0] == "!" {
		_, err := db.Exec(query)
		ts.Check(err)
		return
	}
	var got string
	ts.Check(db.Get(&got, query))
	if neg || got != args[0] {
		ts.Fatalf("%s: %s, want %s", query, got, args[0])
	}
}

// ingest N [MONTHS] stores a given number of logins, of this month or of one that many months ago.
func (w *world) ingest(t *testing.T, ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	messages := etltest.Logins(w.stored, w.stored+n)
	w.stored += n
	if len(args) > 1 {
		months, err := strconv.Atoi(args[1])
		ts.Check(err)
		for _, m := range messages {
			m.Sent = keys.MonthOf(etltest.Today()).AddDate(0, -months, 3)
		}
	}
	etltest.Run(t, w.writer, etltest.NewSource(messages), etl.Options{BatchDelay: time.Millisecond})
}
