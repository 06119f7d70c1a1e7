package recovercmd

import (
	"testing"

	"cloakroom/internal/pg"
)

// TestOutcomeFalsified takes rows with a client of its own and lies about what became of them: the outcome counts no rows that
// were not frozen, it stands once, and the report shows what was frozen beside it.
func TestOutcomeFalsified(t *testing.T) {
	c := newCounter(t)
	id := c.approved(t, ask(nil))
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
