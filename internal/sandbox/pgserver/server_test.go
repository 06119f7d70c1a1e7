package pgserver_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"go.uber.org/goleak"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
)

func open(t *testing.T, url string) *sqlx.DB {
	t.Helper()
	db, err := sqlx.ConnectContext(t.Context(), "postgres", url)
	if err != nil {
		t.Fatalf("connecting to %s: %v", url, err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func get[T any](t *testing.T, db *sqlx.DB, query string) T {
	t.Helper()
	var v T
	if err := db.GetContext(t.Context(), &v, query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func superURL(s *pgserver.Server) string { return s.URL(s.SuperUser(), "postgres") }

func missing(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}

func TestZeroConfig(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	begin := time.Now()
	s, err := pgserver.Start(t.Context(), pgserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("initdb and start: %v", time.Since(begin))

	db, err := sqlx.Connect("postgres", superURL(s))
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "listen_addresses": "",
		"server_encoding": "UTF8", "unix_socket_directories": filepath.Join(s.Dir(), "run"),
	} {
		if got := get[string](t, db, "SHOW "+setting); strings.Trim(got, `"`) != want {
			t.Errorf("%s = %q, want %q", setting, got, want)
		}
	}
	if got := get[string](t, db, "SELECT datcollate FROM pg_database WHERE datname = 'template1'"); got != "C" {
		t.Errorf("collation = %q, want C", got)
	}
	db.Close()

	pid := s.PID()
	begin = time.Now()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("stop: %v", time.Since(begin))
	missing(t, s.Dir())
	if s.PID() != 0 || pgserver.Alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
	if err := s.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "Config.Dir") {
		t.Errorf("restarting without a directory: %v", err)
	}
}

func TestPrivate(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{})
	for _, name := range []string{"data", "run"} {
		info, err := os.Stat(filepath.Join(s.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %04o, want 0700", name, info.Mode().Perm())
		}
	}
}

// The same URL has to do for lib/pq and for libpq's programs.
func TestURLWithPrograms(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{})
	db := open(t, superURL(s))
	db.MustExec(`CREATE ROLE "o'neil@x" LOGIN`)
	db.MustExec(`CREATE DATABASE "a b?c" OWNER "o'neil@x"`)
	url := s.URL("o'neil@x", "a b?c")
	if got := get[string](t, open(t, url), "SELECT session_user || '/' || current_database()"); got != "o'neil@x/a b?c" {
		t.Errorf("lib/pq: logged in as %q", got)
	}
	for _, args := range [][]string{
		{"psql", "-XAtc", "SELECT session_user || '/' || current_database()", url},
		{"pg_dump", "--schema-only", url},
	} {
		path := pgtest.Program(t, s, args[0])
		out, err := exec.Command(path, args[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
		if args[0] == "psql" && strings.TrimSpace(string(out)) != "o'neil@x/a b?c" {
			t.Errorf("psql: logged in as %q", out)
		}
	}
}

func TestTCPWantsPassword(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{TCP: true})
	open(t, superURL(s)).MustExec(`CREATE ROLE alice LOGIN PASSWORD 'p@ss/word'`)
	if got := get[string](t, open(t, s.TCPURL("alice", "p@ss/word", "postgres")), "SELECT session_user"); got != "alice" {
		t.Errorf("logged in as %q", got)
	}
	if db, err := sqlx.Connect("postgres", s.TCPURL("alice", "wrong", "postgres")); err == nil {
		db.Close()
		t.Error("a wrong password was accepted")
	}
}

func TestSettingsAndLog(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{Settings: map[string]string{
		"log_statement":    "all",
		"log_line_prefix":  `it's [%p] a \ prefix: `,
		"application_name": "wardrobe",
	}})
	db := open(t, superURL(s))
	db.MustExec("SELECT 'a line to look for'")
	if got := get[string](t, db, "SHOW application_name"); got != "wardrobe" {
		t.Errorf("application_name = %q", got)
	}
	log, err := os.ReadFile(s.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "statement: SELECT 'a line to look for'") ||
		!strings.Contains(string(log), `a \ prefix: `) {
		t.Errorf("the log lacks the statement or its prefix:\n%s", log)
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, value := range map[string]string{"Port": "1", "no such = name": "1", "work_mem": "1\nport = 1"} {
		s, err := pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{name: value}})
		if err == nil {
			s.Stop()
			t.Errorf("%q = %q was accepted", name, value)
		}
	}
}

func TestFailedStartSaysWhy(t *testing.T) {
	dir := filepath.Join(pgtest.Dir(t), "kept")
	_, err := pgserver.Start(t.Context(),
		pgserver.Config{Dir: dir, Settings: map[string]string{"shared_buffers": "lots"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
		t.Errorf("error without Postgres's own words: %v", err)
	}
	// The directory is free again, and its cluster sound.
	pgtest.Server(t, pgserver.Config{Dir: dir})
}

func TestStartCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // initdb alone takes longer
	defer cancel()
	dir := filepath.Join(pgtest.Dir(t), "kept")
	if s, err := pgserver.Start(ctx, pgserver.Config{Dir: dir}); err == nil {
		s.Stop()
		t.Error("it started although its context had ended")
	}
	pgtest.Server(t, pgserver.Config{Dir: dir}) // the half-made cluster is not used
}
