package pgtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
)

// without names a way for this test binary to run itself without pgtest.Run.
const without = "PGTEST_TEST_WITHOUT_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(without) != "" {
		os.Exit(m.Run())
	}
	os.Exit(pgtest.Run(m))
}

var prepared atomic.Int32

func coats(_ context.Context, url string) error {
	prepared.Add(1)
	db, err := sqlx.Connect("postgres", url)
	if err != nil {
		return err
	}
	// Left open: Clone has to cope.
	for i := range 30 {
		if _, err := db.Exec(fmt.Sprintf("CREATE TABLE t%d (n integer PRIMARY KEY, s text UNIQUE)", i)); err != nil {
			return err
		}
	}
	_, err = db.Exec("CREATE TABLE coats AS SELECT n FROM generate_series(1, 3) n")
	return err
}

func count(t *testing.T, db *sqlx.DB, query string) int {
	t.Helper()
	var n int
	if err := db.GetContext(t.Context(), &n, query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestClonesAreApart(t *testing.T) {
	t.Run("parallel", func(t *testing.T) {
		for i := range 12 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				db := pgtest.Clone(t, "coats", coats).Open(t, "")
				db.MustExec("INSERT INTO coats VALUES (4)")
				if n := count(t, db, "SELECT count(*) FROM coats"); n != 4 {
					t.Errorf("%d rows, want 4", n)
				}
			})
		}
	})
	if n := prepared.Load(); n != 1 {
		t.Errorf("prepared %d times", n)
	}
}

// BenchmarkClone clones 120 relations.
func BenchmarkClone(b *testing.B) {
	pgtest.Clone(b, "coats", coats)
	for b.Loop() {
		pgtest.Clone(b, "coats", coats)
	}
}

func TestDatabaseIsDropped(t *testing.T) {
	outer := pgtest.New(t).Open(t, "")
	var name string
	t.Run("inner", func(t *testing.T) {
		db := pgtest.New(t)
		name = db.Name()
		leaked := sqlx.MustConnect("postgres", db.URL("")) // held until the drop
		leaked.SetMaxIdleConns(1)
		t.Cleanup(func() { leaked.Close() })
	})
	if n := count(t, outer, "SELECT count(*) FROM pg_database WHERE datname = '"+name+"'"); n != 0 {
		t.Errorf("database %s is still there", name)
	}
}

func TestLogin(t *testing.T) {
	outer := pgtest.New(t).Open(t, "")
	outer.MustExec("CREATE ROLE coat_checkers")
	t.Cleanup(func() { outer.MustExec("DROP ROLE coat_checkers") })
	t.Run("inner", func(t *testing.T) {
		db := pgtest.Clone(t, "coats", coats)
		db.Open(t, "").MustExec("GRANT SELECT ON coats TO coat_checkers; GRANT CREATE ON SCHEMA public TO PUBLIC")
		t.Cleanup(func() { db.Open(t, "").MustExec("DROP OWNED BY coat_checkers") })

		address := db.Login(t, "alice", "coat_checkers")
		if u, err := url.Parse(address); err != nil || u.User.Username() != db.Role("alice") {
			t.Errorf("URL %s of %s (%v)", address, db.Role("alice"), err)
		}
		alice := db.Open(t, db.Role("alice"))
		if n := count(t, alice, "SELECT count(*) FROM coats"); n != 3 {
			t.Errorf("%d rows", n)
		}
		if _, err := alice.Exec("DELETE FROM coats"); err == nil {
			t.Error("alice may delete what she was not granted")
		}
		// What alice owns, and a transaction of hers, must not hold up the end.
		alice.MustExec("CREATE TABLE hers (n integer)")
		alice.MustBegin().MustExec("LOCK TABLE hers")
	})
	if n := count(t, outer, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'alice%'"); n != 0 {
		t.Errorf("%d logins are still there", n)
	}
}

func TestServerOfItsOwn(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{Dir: filepath.Join(pgtest.Dir(t), "kept")})
	if s.PID() == pgtest.New(t).Server().PID() {
		t.Error("it is the shared one")
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A package that forgets TestMain is told so, and a template that cannot be
// prepared fails the test: neither skips.
func TestFailures(t *testing.T) {
	for name, want := range map[string]string{
		without:     "os.Exit(pgtest.Run(m))",
		"PGTEST_NO": "no coats today",
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestHelper$", "-test.v")
		cmd.Env = append(os.Environ(), "PGTEST_HELPER=1", name+"=1")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), want) || !strings.Contains(string(out), "--- FAIL") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestHelper(t *testing.T) {
	if os.Getenv("PGTEST_HELPER") == "" {
		t.Skip("only TestFailures runs it")
	}
	pgtest.Clone(t, "coats", func(context.Context, string) error { return errors.New("no coats today") })
}
