package pgserver_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
)

// family is a postmaster and what it forked.
func family(t *testing.T, postmaster int) []int {
	t.Helper()
	pids, err := pgserver.Children(postmaster)
	if err != nil {
		t.Fatal(err)
	}
	pids = append(pids, postmaster)
	if len(pids) < 3 || !slices.ContainsFunc(pids, pgserver.Alive) {
		t.Fatalf("postmaster %d with a family of %v: the test cannot see it", postmaster, pids)
	}
	return pids
}

func TestKillLosesNothingCommitted(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{})
	db := open(t, superURL(s))
	db.MustExec("CREATE TABLE coats AS SELECT n FROM generate_series(1, 1000) n")
	tx := db.MustBegin()
	tx.MustExec("INSERT INTO coats VALUES (0)")

	pids := family(t, s.PID())
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if pgserver.Alive(pid) {
			t.Errorf("process %d survived", pid)
		}
	}
	if err := tx.Commit(); err == nil {
		t.Error("committed on a dead server")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := get[int](t, open(t, superURL(s)), "SELECT count(*) FROM coats"); n != 1000 {
		t.Errorf("%d rows after the crash, want 1000", n)
	}
}

func TestPauseHangsClients(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{})
	db := open(t, superURL(s))
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		_, err := db.Exec("SELECT 1") // an open connection: its backend is stopped too
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Errorf("a paused server answered (%v)", err)
	case <-ctx.Done():
	}
	if err := s.Continue(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answer:
		if err != nil {
			t.Errorf("the answer after the pause: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("no answer after the pause")
	}
}

func TestStopWhilePaused(t *testing.T) {
	s := pgtest.Server(t, pgserver.Config{})
	open(t, superURL(s))
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	missing(t, s.Dir())
}
