package recovercmd

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/kmsserver"
	recovery "cloakroom/recover"
)

// TestOutcomeFalsified takes rows with a client of its own and lies about what became of them: the
// outcome counts no rows that were not frozen, it stands once, and the report shows what was frozen
// beside it.
func TestOutcomeFalsified(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	db := c.Pool(t, c.aliceURL)
	outcome := func(rows any, result string) error {
		_, err := db.Exec(`SELECT cloakroom.close_opening($1, $2, $3)`, id, rows, result)
		return err
	}
	refusal := func() error {
		_, err := db.Exec(`SELECT cloakroom.note_refusal($1, 'refused: open')`, id)
		return err
	}
	wantCode(t, outcome(0, "ok"), pg.NotApproved) // nothing was opened yet
	for _, step := range []string{begin, confirm} {
		if _, err := do(db, step, id); err != nil {
			t.Fatal(err)
		}
		wantCode(t, refusal(), pg.RequestRefused) // would read as the opening's end
	}
	if _, err := do(db, handOut, id); err != nil {
		t.Fatal(err)
	}
	wantCode(t, refusal(), pg.RequestRefused)
	for _, rows := range []any{3, -1, nil} { // 2 were frozen
		wantCode(t, outcome(rows, "ok"), pg.RequestRefused)
	}
	for _, result := range []string{"", "OK", "ok\n", `ok","rows":1`} {
		wantCode(t, outcome(1, result), pg.RequestRefused)
	}
	if err := outcome(0, "failed: integrity"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, outcome(2, "ok"), pg.NotApproved)

	r, err := c.alice.MakeReport(t.Context(), today, today.AddDate(0, 0, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Frozen != 2 || r.Rows != 0 || r.Failures != 1 || len(r.Unfinished) != 0 {
		t.Errorf("report of a falsified outcome: %d frozen, %d opened, %d failed, unfinished %v; want 2, 0, 1, none", r.Frozen, r.Rows, r.Failures, r.Unfinished)
	}
	for name, tally := range map[string]int64{"fraud": r.Purposes["fraud"].Frozen, "alice": r.People[c.Role("alice")].Frozen} {
		if tally != 2 {
			t.Errorf("%s: %d frozen, want 2", name, tally)
		}
	}
}

// TestRefusedKeyIsAnOutcome lets KMS unwrap index keys and refuse data keys. The refusal and the
// rows arrive in any order: each time the approval is spent, the outcome is in the log, and the
// exit code says that a key is unavailable.
func TestRefusedKeyIsAnOutcome(t *testing.T) {
	c, srv := withKMS(t)
	c.bulk(t, 3000, 100)
	srv.SetPolicy("auditor", kmsserver.Policy{"Decrypt": {"index"}})
	for range 6 {
		for _, request := range []recovery.RequestParams{params(nil), ofBulk} { // one key, and thirty
			id := c.approved(t, request)
			p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe")
			if code := p.wait(); code != cli.ExitKey || p.stdout.Len() > 0 {
				t.Errorf("exit code %d, want %d; printed %d bytes: %s", code, cli.ExitKey, p.stdout.Len(), &p.stderr)
			}
			c.wantOutcome(t, id, "failed: key unavailable")
		}
	}
}

// TestInterruptWhileKMSHangs sends SIGINT while the rows are here and their key is not: the program
// ends soon, with the outcome in the log, and does not say that it can be run again.
func TestInterruptWhileKMSHangs(t *testing.T) {
	c, srv := withKMS(t)
	id := c.approved(t, params(nil))
	srv.Inject(awswire.Fault{Op: "Decrypt", Delay: time.Minute})
	p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe")
	retry(t, func() error {
		if c.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND usename = $1 AND state = 'idle in transaction' AND query LIKE 'FETCH%'`, c.Role("alice")) == 0 {
			return errors.New("the rows were never fetched")
		}
		return nil
	})
	began := time.Now()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != cli.ExitOther || p.stdout.Len() > 0 {
		t.Errorf("exit code %d, want %d; printed %d bytes: %s", code, cli.ExitOther, p.stdout.Len(), &p.stderr)
	}
	if took := time.Since(began); took > 8*time.Second { // KMS is given up after ten
		t.Errorf("it took %v to stop", took)
	}
	if !strings.Contains(p.stderr.String(), "the approval is spent: request again") {
		t.Errorf("it says: %s", &p.stderr)
	}
	c.wantOutcome(t, id, "failed: interrupted")
}

// TestInterruptBeforeRows sends SIGINT before anything is handed out: exit code 2, and the same
// approval still serves.
func TestInterruptBeforeRows(t *testing.T) {
	for _, state := range []string{"intent", "confirmed", "opened"} {
		t.Run(state, func(t *testing.T) {
			c := newFixture(t)
			id := c.approved(t, params(nil))
			unpause := c.pauseAt(state)
			p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe")
			c.awaitPause(t)
			if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if code := p.wait(); code != cli.ExitUnfinished || p.stdout.Len() > 0 {
				t.Errorf("exit code %d, want %d; printed %d bytes: %s", code, cli.ExitUnfinished, p.stdout.Len(), &p.stderr)
			}
			unpause()
			opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			opened.Close()
		})
	}
}

// TestInterruptedOpeningIsAnOutcome stops an opening while rows are on their way.
func TestInterruptedOpeningIsAnOutcome(t *testing.T) {
	c := newFixture(t)
	c.bulk(t, 3000, 1000)
	id := c.approved(t, ofBulk)
	ctx, interrupt := context.WithCancel(t.Context())
	_, err := c.alice.Open(ctx, id, recovery.OpenOptions{Progress: func(int64, int64) { interrupt() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	c.wantOutcome(t, id, "failed: interrupted")
}

// TestBrokenStreamIsAnOutcome lets the database fail where the rows are fetched, after it has
// handed them out.
func TestBrokenStreamIsAnOutcome(t *testing.T) {
	c := newFixture(t)
	c.bulk(t, 5000, 1000)
	// The frozen ids do not fit into so little memory, and may not be written to a temporary file.
	c.admin.MustExec(`CREATE FUNCTION public.starve() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
		$$ BEGIN PERFORM set_config('work_mem', '64kB', true), set_config('temp_file_limit', '0', true); RETURN NEW; END $$`)
	c.admin.MustExec(`CREATE TRIGGER starve BEFORE UPDATE ON cloakroom.requests FOR EACH ROW
		WHEN (NEW.state = 'opened') EXECUTE FUNCTION public.starve()`)
	id := c.approved(t, ofBulk)
	_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantCode(t, err, "53400")
	c.wantOutcome(t, id, "failed: database")
}

// TestLostConnectionKeepsTheApproval cuts the connection that hands out the rows: nothing was
// handed out for good, so the request can be opened again, under the intent that is logged.
func TestLostConnectionKeepsTheApproval(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	c.admin.MustExec(`CREATE FUNCTION public.cut() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
		$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$`)
	c.admin.MustExec(`CREATE TRIGGER cut BEFORE UPDATE ON cloakroom.requests FOR EACH ROW
		WHEN (NEW.state = 'opened') EXECUTE FUNCTION public.cut()`)
	p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe")
	if code := p.wait(); code != cli.ExitDatabase || p.stdout.Len() > 0 {
		t.Errorf("exit code %d, want %d; printed %d bytes: %s", code, cli.ExitDatabase, p.stdout.Len(), &p.stderr)
	}
	c.admin.MustExec(`DROP TRIGGER cut ON cloakroom.requests`)
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	if n := c.intents(t, id); n != 1 {
		t.Errorf("%d intents, want 1", n)
	}
}

// wantOutcome wants the request to be over, and its outcome to be in the log once.
func (c *fixture) wantOutcome(t *testing.T, id uuid.UUID, want string) {
	t.Helper()
	var state, result string
	if err := c.admin.QueryRow(`SELECT state, coalesce(result, '') FROM cloakroom.requests WHERE id = $1`, id).Scan(&state, &result); err != nil {
		t.Fatal(err)
	}
	if state != "failed" || result != want {
		t.Errorf("the request is %s with result %q, want failed with %q", state, result, want)
	}
	var logged []string
	if err := c.admin.Select(&logged, `SELECT l ->> 'result' FROM (SELECT convert_from(leaf, 'UTF8')::json FROM cloakroom.audit_leaves) AS t(l)
		WHERE l ->> 'request' = $1 AND l ->> 'type' = 'failed'`, id.String()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(logged, []string{want}) {
		t.Errorf("outcomes in the log: %q, want %q once", logged, want)
	}
}
