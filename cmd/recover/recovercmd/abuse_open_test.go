package recovercmd

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
	recovery "cloakroom/recover"
	"cloakroom/recover/auditlog"
)

// The steps of an opening as an abuser calls them, without our client.
const (
	begin   = `SELECT rows FROM cloakroom.begin_opening($1)`
	confirm = `SELECT cloakroom.confirm_opening($1)`
	handOut = `SELECT count(*) FROM cloakroom.hand_out($1, 'handed') WHERE kind = 'key'`
)

// do runs a step and returns what it counts, if it does.
func do(q sqlx.QueryerContext, step string, id uuid.UUID) (int, error) {
	var answer sql.NullString
	if err := q.QueryRowxContext(context.Background(), step, id).Scan(&answer); err != nil {
		return 0, err
	}
	n, _ := strconv.Atoi(answer.String) // confirm answers nothing
	return n, nil
}

func wantCode(t testing.TB, err error, codes ...string) {
	t.Helper()
	for _, code := range codes {
		if pg.Code(err) == code {
			return
		}
	}
	t.Errorf("error is %v, want SQLSTATE %v", err, codes)
}

func (c *fixture) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := c.admin.Get(&n, query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

// intents counts the intent leaves of a request.
func (c *fixture) intents(t testing.TB, id uuid.UUID) int {
	t.Helper()
	return c.count(t, `SELECT count(*) FROM cloakroom.audit_leaves WHERE convert_from(leaf, 'UTF8') LIKE '%"type":"intent","request":"' || $1 || '"%'`, id.String())
}

func abuseRollback(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	db := c.Pool(t, c.aliceURL)

	tx := db.MustBegin()
	if n, err := do(tx, begin, id); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	_ = tx.Rollback()
	if n := c.intents(t, id); n != 0 {
		t.Fatalf("%d intents after the rollback", n)
	}
	_, err := do(db, confirm, id)
	wantCode(t, err, pg.AuditUnavailable)
	_, err = do(db, handOut, id)
	wantCode(t, err, pg.AuditUnavailable)

	// All three steps in one transaction, to roll it back with the rows in hand.
	tx = db.MustBegin()
	if _, err := do(tx, begin, id); err != nil {
		t.Fatal(err)
	}
	_, err = do(tx, confirm, id)
	wantCode(t, err, pg.AuditUnavailable)
	_ = tx.Rollback()

	// Only the handing out is rolled back: the rows were had, and the intent stands in the log.
	for _, step := range []string{begin, confirm} {
		if _, err := do(db, step, id); err != nil {
			t.Fatal(err)
		}
	}
	tx = db.MustBegin()
	if n, err := do(tx, handOut, id); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_ = tx.Rollback()
	if n := c.intents(t, id); n != 1 {
		t.Errorf("%d intents after the handing out was rolled back, want 1", n)
	}
}

func abuseSavepoint(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	db := c.Pool(t, c.aliceURL)
	for name, after := range map[string]string{"rolled back to": "ROLLBACK TO SAVEPOINT s", "released": "RELEASE SAVEPOINT s"} {
		for step, query := range map[string]string{"confirm": confirm, "hand out": handOut} {
			tx := db.MustBegin()
			tx.MustExec(`SAVEPOINT s`)
			if _, err := do(tx, begin, id); err != nil {
				t.Fatal(err)
			}
			tx.MustExec(after)
			n, err := do(tx, query, id)
			if n != 0 {
				t.Errorf("%s, %s: %d rows", name, step, n)
			}
			wantCode(t, err, pg.AuditUnavailable)
			_ = tx.Rollback()
		}
	}
	// Confirmed in a savepoint that is rolled back, after the intent was committed.
	if _, err := do(db, begin, id); err != nil {
		t.Fatal(err)
	}
	tx := db.MustBegin()
	tx.MustExec(`SAVEPOINT s`)
	if _, err := do(tx, confirm, id); err != nil {
		t.Fatal(err)
	}
	tx.MustExec(`ROLLBACK TO SAVEPOINT s`)
	_, err := do(tx, handOut, id)
	wantCode(t, err, pg.AuditUnavailable)
	_ = tx.Rollback()
}

// serverOfItsOwn is a vault on a server that the test may kill.
func serverOfItsOwn(t *testing.T) (*fixture, *pgserver.Server) {
	t.Helper()
	s := pgtest.Server(t, pgserver.Config{})
	url := s.URL(s.SuperUser(), "postgres")
	uri := keystest.WriteKEK(t, []byte("cloakroom abuse test: a KEK, 32b"))
	set, err := kek.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Init(t.Context(), url, set); err != nil {
		t.Fatal(err)
	}
	admin := sqlx.MustConnect("postgres", url)
	t.Cleanup(func() { admin.Close() })
	open := func(login, role string) *keys.Vault {
		admin.MustExec(`CREATE ROLE ` + login + ` LOGIN IN ROLE cloakroom_` + role)
		db, err := pg.Open(pg.Config{URL: s.URL(login, "postgres")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return &keys.Vault{DB: db, KEK: set}
	}
	c := &fixture{admin: admin, first: login("user-1", canaryIP, canaryDevice)}
	c.alice = &recovery.Client{Vault: open("alice", "auditor")}
	c.bob = &recovery.Client{Vault: open("bob", "approver")}
	ingestAs(t, open("ingest", "ingest"), c.first)
	return c, s
}

func abuseAsynchronousCommit(t *testing.T) {
	c, s := serverOfItsOwn(t)
	id := c.approved(t, params(nil))
	// Nobody flushes the WAL but us.
	var writer int
	if err := c.admin.Get(&writer, `SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'`); err != nil {
		t.Fatal(err)
	}
	c.admin.MustExec(`CHECKPOINT`)
	if err := syscall.Kill(writer, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(writer, syscall.SIGKILL) })
	db := c.alice.Vault.DB
	for _, step := range []string{begin, confirm} {
		tx := db.MustBegin()
		if _, err := do(tx, step, id); err != nil {
			t.Fatal(err)
		}
		tx.MustExec(`SET LOCAL synchronous_commit = off`)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.intents(t, id); n != 1 {
		t.Fatalf("%d intents are visible, want 1: the test does not try what it means to", n)
	}
	n, err := do(db, handOut, id)
	wantCode(t, err, pg.NotLoggedYet)
	if n != 0 {
		t.Fatalf("%d rows handed out before the intent was on disk", n)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(writer, syscall.SIGKILL)
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var types []string
	retry(t, func() error {
		return c.admin.Select(&types, `SELECT convert_from(leaf, 'UTF8')::json ->> 'type' FROM cloakroom.audit_leaves ORDER BY seq`)
	})
	for _, typ := range types {
		if typ == "intent" {
			t.Error("the crash lost nothing: the test does not try what it means to")
		}
	}
	var out error
	retry(t, func() error {
		_, out = do(db, handOut, id)
		if pg.Code(out) == "" {
			return out
		}
		return nil
	})
	wantCode(t, out, pg.AuditUnavailable)
}

// retry is for connections that a crash has cut.
func retry(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for range 100 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal(err)
}

// pauseAt makes the database linger before a request takes on a state; unpause ends that, and those
// who linger.
func (c *fixture) pauseAt(state string) (unpause func()) {
	c.admin.MustExec(`CREATE OR REPLACE FUNCTION public.linger() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$`)
	c.admin.MustExec(`CREATE TRIGGER linger BEFORE UPDATE ON cloakroom.requests FOR EACH ROW WHEN (NEW.state = '` + state + `') EXECUTE FUNCTION public.linger()`)
	return func() {
		c.admin.MustExec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`)
		c.admin.MustExec(`DROP TRIGGER linger ON cloakroom.requests`)
	}
}

func (c *fixture) awaitPause(t testing.TB) {
	t.Helper()
	for range 200 {
		if c.count(t, `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`) > 0 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("the program never came to that step")
}

func abuseKill(t *testing.T) {
	for _, step := range []struct {
		state   string // the step ends with it
		intents int    // leaves when it is killed
		resumes bool   // the same approval still serves: nothing was handed out for good
	}{
		{"intent", 0, true}, {"confirmed", 1, true}, {"opened", 1, true}, {"closed", 1, false},
	} {
		t.Run(step.state, func(t *testing.T) {
			c := newFixture(t)
			id := c.approved(t, params(nil))
			unpause := c.pauseAt(step.state)
			p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe")
			c.awaitPause(t)
			if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = p.cmd.Wait()
			unpause()
			if p.stdout.Len() > 0 {
				t.Errorf("it had printed %d bytes", p.stdout.Len())
			}
			if n := c.intents(t, id); n != step.intents {
				t.Errorf("%d intents in the log, want %d", n, step.intents)
			}
			opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
			if !step.resumes {
				wantExit(t, err, cli.ExitNotYours)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			opened.Close()
			if n := c.intents(t, id); n != 1 {
				t.Errorf("%d intents in the end, want 1", n)
			}
		})
	}
}

// fillDisk makes appending leaves of a type fail as a full disk does.
func (c *fixture) fillDisk(leafType string) {
	c.admin.MustExec(`CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`)
	c.admin.MustExec(`CREATE TRIGGER full_disk BEFORE INSERT ON cloakroom.audit_leaves FOR EACH ROW
		WHEN (convert_from(NEW.leaf, 'UTF8') LIKE '%"type":"` + leafType + `"%') EXECUTE FUNCTION public.full_disk()`)
}

func abuseDiskFull(t *testing.T) {
	for _, leafType := range []string{"intent", "opened"} {
		t.Run(leafType, func(t *testing.T) {
			c := newFixture(t)
			id := c.approved(t, params(nil))
			c.fillDisk(leafType)
			out := filepath.Join(t.TempDir(), "values.json")
			for _, to := range [][]string{{"--allow-pipe"}, {"--out", out}} {
				p := c.start(t, c.aliceURL, append([]string{"open", id.String()}, to...)...)
				want := cli.ExitNotLogged
				if leafType == "opened" && to[0] == "--out" {
					want = cli.ExitNotYours // the first try has spent it
				}
				code := p.wait()
				spent := strings.Contains(p.stderr.String(), "the approval is spent")
				if spent != (leafType == "opened" && want == cli.ExitNotLogged) {
					t.Errorf("%s, %v: whether the approval is spent is said wrongly: %s", leafType, to, &p.stderr)
				}
				if code != want || p.stdout.Len() > 0 {
					t.Errorf("exit code %d, %d bytes printed, want %d and 0: %s", code, p.stdout.Len(), want, &p.stderr)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			p := c.start(t, c.aliceURL, "log", "show", "--json")
			if p.wait() != 0 || p.stdout.Len() == 0 {
				t.Errorf("the log cannot be read any more: %s", &p.stderr)
			}
		})
	}
	c := newFixture(t)
	c.fillDisk("request")
	_, err := c.alice.Request(t.Context(), params(nil))
	wantExit(t, err, cli.ExitNotLogged)
	if n := c.count(t, `SELECT count(*) FROM cloakroom.requests`); n != 0 {
		t.Errorf("%d requests that the log does not know", n)
	}
}

func abuseSinkAway(t *testing.T) {
	c := newFixture(t)
	c.admin.MustExec(`UPDATE cloakroom.settings SET checkpoint_before_open = true`)
	id := c.approved(t, params(nil))
	w := newWitness(t, c)
	dir := w.Sink
	w.Sink = auditlog.Sink(filepath.Join(string(dir), "away"))
	if _, made, err := w.Checkpoint(t.Context()); made || err == nil {
		t.Fatalf("a checkpoint at a sink that is away: %v, %v", made, err)
	}
	p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe", "--wait", "300ms")
	if code := p.wait(); code != cli.ExitNotLogged || p.stdout.Len() > 0 {
		t.Errorf("exit code %d, %d bytes printed: %s", code, p.stdout.Len(), &p.stderr)
	}
	// An old checkpoint does not cover the intent, and an auditor cannot vouch for the sink.
	if _, err := c.alice.Vault.DB.Exec(`SELECT cloakroom.record_checkpoint(3, sha256('x'), 'x')`); err == nil {
		t.Error("an auditor recorded a checkpoint")
	}
	w.Sink = dir
	if _, made, err := w.Checkpoint(t.Context()); !made || err != nil {
		t.Fatal(made, err)
	}
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{Wait: 5 * time.Second})
	if err != nil {
		t.Fatalf("with the sink back: %v", err)
	}
	opened.Close()
	if n := c.intents(t, id); n != 1 {
		t.Errorf("%d intents, want 1", n)
	}
	if entries, err := os.ReadDir(string(dir)); err != nil || len(entries) != 1 {
		t.Errorf("at the sink: %v, %v", entries, err)
	}
}

func abuseTwoOpeners(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	const openers = 6
	results := make(chan error, openers)
	for range openers {
		client := c.client(t, c.aliceURL)
		go func() {
			opened, err := client.Open(context.Background(), id, recovery.OpenOptions{})
			if err == nil {
				opened.Close()
			}
			results <- err
		}()
	}
	won := 0
	for range openers {
		if err := <-results; err == nil {
			won++
		} else {
			wantExit(t, err, cli.ExitNotYours)
		}
	}
	if n := c.intents(t, id); won != 1 || n != 1 {
		t.Errorf("%d openers got the values under %d intents, want 1 and 1", won, n)
	}
}

func abusePipe(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	p := c.start(t, c.aliceURL, "open", id.String())
	if code := p.wait(); code != cli.ExitOther || p.stdout.Len() > 0 {
		t.Errorf("exit code %d, %d bytes down the pipe", code, p.stdout.Len())
	}
	if n := c.intents(t, id); n != 0 {
		t.Error("it spent the approval")
	}
}
