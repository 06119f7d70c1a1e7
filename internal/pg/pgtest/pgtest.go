// Package pgtest gives each test a Postgres database of its own, on one real
// server per test process.
//
// A package that uses it says so once:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
//
// and then, in any test, parallel or not:
//
//	db := pgtest.New(t)                         // an empty database
//	db := pgtest.Clone(t, "schema", migrations) // a copy of a prepared one
//	alice := db.Login(t, "alice", "cloakroom_analyst")
//
// It promises that a test fails, and never skips, when no Postgres can be had;
// that no test sees another's database or logins (group roles are the server's,
// as Postgres has it); and that after the last test no process and no directory
// is left. TestMain is compulsory for that last promise: nothing else in a test
// process runs at its end.
//
// The shared server keeps its files in memory where it can and runs with
// fsync=off: a test of what a crash of the whole machine does needs more than
// this package. What a crash of Postgres does is for Server.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the driver

	"cloakroom/internal/sandbox/pgserver"
)

// process is what the tests of one process share.
type process struct {
	mu        sync.Mutex
	open      bool // Run is at work
	started   bool // the server was asked for: server or err is set
	server    *pgserver.Server
	admin     *sqlx.DB // superuser, in the database postgres
	err       error
	databases int
	templates map[string]*template
}

var shared process

// Run runs the tests and then stops the shared server, if any test asked for
// it. What it returns is for os.Exit.
func Run(m *testing.M) int {
	shared.mu.Lock()
	shared.open = true
	shared.mu.Unlock()
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	return code
}

func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = false
	if p.server == nil {
		return nil
	}
	return errors.Join(p.admin.Close(), p.server.Stop())
}

// need starts the shared server the first time.
func (p *process) need(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		t.Fatal("pgtest: nobody would stop the server; this package needs\n\n" +
			"\tfunc TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }")
	}
	if !p.started {
		p.started = true
		p.err = p.start()
	}
	if p.err != nil {
		t.Fatalf("pgtest: %v", p.err)
	}
}

func (p *process) start() error {
	// The server outlives the test that asks for it first.
	s, err := pgserver.Start(context.Background(), pgserver.Config{
		Memory: true,
		Settings: map[string]string{
			"fsync":            "off",
			"full_page_writes": "off",
			"max_connections":  "200",   // parallel tests, each with pools
			"max_wal_size":     "128MB", // memory is dear
		},
	})
	if err != nil {
		return err
	}
	admin, err := sqlx.Connect("postgres", s.URL(s.SuperUser(), "postgres"))
	if err != nil {
		return errors.Join(fmt.Errorf("connecting to Postgres: %w", err), s.Stop())
	}
	p.server, p.admin, p.templates = s, admin, map[string]*template{}
	return nil
}

// number is different for every database of this process.
func (p *process) number() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.databases++
	return p.databases
}

// Server starts a server for this test alone, to kill, pause or configure, and
// stops it when the test ends. It takes half a second: New and Clone do not.
// Without a directory it is kept in memory where that can be; the settings are
// a production server's, but for what cfg says.
func Server(t testing.TB, cfg pgserver.Config) *pgserver.Server {
	t.Helper()
	cfg.Memory = true
	s, err := pgserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return s
}

// Dir is a temporary directory for pgserver's Config.Dir. When the tests run as
// root, the account that Postgres runs as could not enter t.TempDir.
func Dir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatalf("pgtest: %v", err)
		}
	}
	return dir
}
