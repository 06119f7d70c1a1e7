package pgserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
)

func TestDirIsKept(t *testing.T) {
	dir := filepath.Join(pgtest.Dir(t), "a", "b")
	first, err := pgserver.Start(t.Context(), pgserver.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	open(t, superURL(first)).MustExec("CREATE TABLE coats AS SELECT 7 AS n")

	if _, err := pgserver.Start(t.Context(), pgserver.Config{Dir: dir}); err == nil ||
		!strings.Contains(err.Error(), "another process") {
		t.Errorf("two servers in one directory: %v", err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	second := pgtest.Server(t, pgserver.Config{Dir: dir})
	if n := get[int](t, open(t, superURL(second)), "SELECT n FROM coats"); n != 7 {
		t.Errorf("read %d back", n)
	}
}

// A directory too deep for a socket still works: the socket goes elsewhere.
func TestDirTooLongForSocket(t *testing.T) {
	dir := filepath.Join(pgtest.Dir(t), strings.Repeat("long/", 30))
	s := pgtest.Server(t, pgserver.Config{Dir: dir})
	url := superURL(s)
	open(t, url)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	open(t, url)
}

func TestRestartKeepsAddressAndData(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		s := pgtest.Server(t, pgserver.Config{Dir: filepath.Join(pgtest.Dir(t), "kept"), TCP: tcp})
		url := superURL(s)
		open(t, url).MustExec("CREATE TABLE coats AS SELECT 7 AS n")
		for _, end := range []func() error{s.Stop, s.Kill, func() error { return nil }} {
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := get[int](t, open(t, url), "SELECT n FROM coats"); n != 7 {
				t.Errorf("read %d back", n)
			}
		}
	}
}

func TestDirThatTheAccountCannotEnter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user runs Postgres itself")
	}
	dir := t.TempDir() // 0700, root's
	_, err := pgserver.Start(t.Context(), pgserver.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "cannot enter "+filepath.Dir(dir)) {
		t.Errorf("error does not name the directory: %v", err)
	}
	// A throwaway server goes to /tmp instead.
	t.Setenv("TMPDIR", dir)
	s, err := pgserver.Start(t.Context(), pgserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(s.Dir()) != "/tmp" {
		t.Errorf("directory %s", s.Dir())
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}
