package rotation_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/rotation"
)

var chaosKills = flag.Int("chaos.kills", 30, "how often TestChaos kills a rotator")

// The child's orders, in its environment.
const (
	chaosURL   = "CLOAKROOM_TEST_CHAOS_URL"
	chaosOwner = "CLOAKROOM_TEST_CHAOS_OWNER"
	chaosKEK   = "CLOAKROOM_TEST_CHAOS_KEK"
	chaosStep  = "CLOAKROOM_TEST_CHAOS_STEP"
	chaosAt    = "CLOAKROOM_TEST_CHAOS_AT" // the place, counted from 1, at which it kills itself
)

// TestChaosChild is the rotator that is killed: not a test of its own.
func TestChaosChild(t *testing.T) {
	url := os.Getenv(chaosURL)
	if url == "" {
		t.Skip("TestChaos runs it")
	}
	at, err := strconv.Atoi(os.Getenv(chaosAt))
	if err != nil {
		t.Fatal(err)
	}
	place := 0
	o := rotation.Options{Workers: 1, BatchRows: 40}.WithHook(func(string) {
		if place++; place == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it arrives
		}
	})
	set, err := kek.Open(t.Context(), os.Getenv(chaosKEK))
	if err != nil {
		t.Fatal(err)
	}
	db, err := pg.Open(pg.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if o.Owner, err = pg.Open(pg.Config{URL: os.Getenv(chaosOwner), Role: pg.Owner, StatementTimeout: -1, LockTimeout: -1}); err != nil {
		t.Fatal(err)
	}
	if err := chaosRun(t.Context(), &keys.Vault{DB: db, KEK: set}, os.Getenv(chaosStep), o); err != nil {
		t.Fatal(err)
	}
}

func chaosRun(ctx context.Context, v *keys.Vault, step string, o rotation.Options) error {
	var err error
	switch step {
	case "rotate":
		o.Force = true
		_, err = rotation.Rotate(ctx, v, dataset.Login(), o)
	case "reindex":
		_, err = rotation.Reindex(ctx, v, dataset.Login(), o)
	case "shred":
		_, err = rotation.Shred(ctx, v, dataset.Login(), keys.MonthOf(etltest.Today()).AddDate(0, -1, 0), o)
	default:
		err = fmt.Errorf("no step %q", step)
	}
	return err
}

// TestChaos kills a rotator before and after its statements, one after another, then runs the step to its end: every row
// opens, tokens are right, no key is gone that a row needs.
func TestChaos(t *testing.T) {
	s := newStock(t, 120)
	url := s.As(t, "killed", "rotator")
	steps := []string{"rotate", "reindex", "shred"}
	at := map[string]int{}
	stored, n := 120, 0
	for kills := 0; kills < *chaosKills; {
		step := steps[n%len(steps)]
		n++
		if step == "shred" {
			s.ingest(t, []*etl.Message{old(100000+n, 2)})
		}
		at[step] += 1 + n%3 // not every place in the short form, another each time
		if !s.killAt(t, url, step, at[step]) {
			at[step] = 0 // it came to its end before that place
		} else {
			kills++
		}
		// Ingest goes on, whatever state the vault was left in.
		s.ingest(t, etltest.Logins(stored, stored+5))
		stored += 5
		if kills%3 == 0 {
			s.converge(t, stored)
		}
	}
	s.converge(t, stored)
	t.Logf("%d kills, %d rows, places reached: %v", *chaosKills, stored, at)
}

// killAt runs a step in a process that kills itself at a place. It reports false where the step ended before.
func (s *stock) killAt(t *testing.T, url, step string, at int) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestChaosChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), chaosURL+"="+url, chaosOwner+"="+s.URL(""), chaosKEK+"="+s.KEK, chaosStep+"="+step, chaosAt+"="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("%s, to be killed at place %d: %v\n%s", step, at, err, out)
	}
	return false
}

// converge finishes what was begun and opens everything.
func (s *stock) converge(t *testing.T, stored int) {
	t.Helper()
	for _, step := range []string{"shred", "rotate", "reindex"} {
		if err := chaosRun(t.Context(), s.vault, step, rotation.Options{Owner: s.owner(t)}); err != nil {
			t.Fatalf("finishing %s: %v", step, err)
		}
	}
	got, err := s.vault.Verify(t.Context(), dataset.Login(), keys.VerifyOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.Opened != stored || got.FailureCount > 0 || got.RejectionsOpened != got.Rejections {
		t.Fatalf("verification: %+v, want %d rows open", got, stored)
	}
	if n := s.count(t, `SELECT count(*) FROM cloakroom.rotations WHERE state = 'running'`); n != 0 {
		t.Errorf("%d rotations have not ended", n)
	}
	if n := s.count(t, `SELECT count(*) FROM cloakroom.user_logins u JOIN cloakroom.data_keys k ON k.id = u.data_key WHERE k.state IN ('retired', 'shredded')`); n != 0 {
		t.Errorf("%d rows need a key that is gone", n)
	}
}
