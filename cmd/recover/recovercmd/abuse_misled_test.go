package recovercmd

import (
	"strings"
	"testing"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	recovery "cloakroom/recover"
)

// Ten tokens were shown as one value. An approver sees of how many values and people the rows are.
func abuseManyValues(t *testing.T) {
	c := newFixture(t)
	var found []string
	if err := c.admin.Select(&found, `SELECT DISTINCT masked_ip_v1 FROM cloakroom_data.user_logins ORDER BY 1`); err != nil || len(found) != 3 {
		t.Fatal(found, err)
	}
	id := c.request(t, params(func(a *recovery.RequestParams) { a.Subject, a.Field, a.Tokens = "", "ip", found }))
	p := c.start(t, c.bobURL, "show", id.String())
	if code := p.wait(); code != cli.ExitDone {
		t.Fatalf("exit %d: %s", code, &p.stderr)
	}
	for _, want := range []string{"any of up to 3 values of ip", "3 rows, of 2 people"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("the approver is not told %q:\n%s", want, &p.stdout)
		}
	}
	// Its requester is told neither.
	shown, err := c.alice.Show(t.Context(), id)
	if err != nil || shown.Selected != nil || shown.People != nil {
		t.Errorf("the requester is shown %v rows of %v people (%v)", shown.Selected, shown.People, err)
	}
}

// "failed, program crashed" was added to the record of somebody else's closed request.
func abuseRefusalOfOthers(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	mallory := c.Pool(t, c.As(t, "mallory", "auditor"))
	if _, err := mallory.Exec(`SELECT cloakroom.note_refusal($1, 'failed, program crashed')`, id); err != nil {
		t.Fatal(err)
	}
	if n := c.entries(t, "failed"); n != 0 {
		t.Errorf("%d entries read as an opening that failed", n)
	}
	if n := c.count(t, `SELECT count(*) FROM cloakroom.audit_leaves WHERE strpos(convert_from(leaf, 'UTF8'), $1) > 0
		AND strpos(convert_from(leaf, 'UTF8'), 'crashed') > 0`, id.String()); n != 0 {
		t.Error("it stands in the record of the request")
	}
	if n := c.entries(t, "refused", c.Role("mallory")); n != 1 {
		t.Errorf("%d entries say that mallory noted it, want 1", n)
	}
}

// 200 entries of 250 kB, and 2,000 refusals in 2.8 s: the log's disk, filled by one login.
func abuseFilledLog(t *testing.T) {
	c := newFixture(t)
	c.admin.MustExec(`SELECT cloakroom.set_policy('requests_per_hour', '20')`)
	alice := c.Pool(t, c.aliceURL)
	id := c.request(t, params(nil))
	var err error
	refusals, requests := 0, 0
	for ; refusals < 40 && err == nil; refusals++ {
		_, err = alice.Exec(`SELECT cloakroom.note_refusal($1, 'no', repeat('x', 250000))`, id)
	}
	wantCode(t, err, pg.RequestRefused)
	const ask = `SELECT cloakroom.request('fraud', 'T', 'why', ARRAY['ip'], p_subject => 'user-1', p_source_identity => repeat('x', 250000))`
	for err = nil; requests < 40 && err == nil; requests++ {
		_, err = alice.Exec(ask)
	}
	wantCode(t, err, pg.RequestRefused)
	if refusals != 21 || requests != 20 { // the fixture's request is counted
		t.Errorf("refusal %d and request %d were refused, want 21 and 20", refusals, requests)
	}
	if n := c.count(t, `SELECT max(octet_length(leaf)) FROM cloakroom.audit_leaves`); n > 2000 {
		t.Errorf("an entry has %d bytes", n)
	}
	_, err = c.client(t, c.As(t, "carol", "auditor")).Request(t.Context(), params(func(a *recovery.RequestParams) {
		for range 900 {
			a.Fields = append(a.Fields, "ip")
		}
	}))
	wantCode(t, err, pg.RequestRefused)
	if _, err := c.client(t, c.As(t, "dave", "auditor")).Request(t.Context(), params(nil)); err != nil {
		t.Errorf("somebody else's request: %v", err)
	}
}
