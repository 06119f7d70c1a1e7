package recovercmd

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
	recovery "cloakroom/recover"
)

// entries counts the log's leaves of a type whose text contains some others.
func (c *fixture) entries(t testing.TB, kind string, parts ...string) int {
	t.Helper()
	return c.count(t, `SELECT count(*) FROM cloakroom.audit_leaves
		WHERE convert_from(leaf, 'UTF8')::json ->> 'type' = $1
		  AND (SELECT bool_and(strpos(convert_from(leaf, 'UTF8'), part) > 0) FROM unnest($2::text[]) AS part)`,
		kind, pq.Array(append([]string{`"v":1`}, parts...)))
}

// A rotator's login stores wrong bytes for every key, by SQL of its own.
func abuseBadRewrap(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	url := c.As(t, "rotator", "rotator")
	rotator := c.Pool(t, url)
	c.admin.MustExec(`SELECT cloakroom.add_kek('file:///lost', 'file:0')`)
	spoil := `SELECT data_keys FROM cloakroom.rewrap_keys('file:0', $1, $2, $3, $4)`
	var purposes pq.StringArray
	var ids pq.Int32Array
	var old, zero pq.ByteaArray
	rows, err := rotator.Query(`SELECT purpose, id, wrapped FROM cloakroom.wrapped_keys()`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var purpose string
		var key int32
		var wrapped []byte
		if err := rows.Scan(&purpose, &key, &wrapped); err != nil {
			t.Fatal(err)
		}
		purposes, ids, old, zero = append(purposes, purpose), append(ids, key), append(old, wrapped), append(zero, make([]byte, 64))
	}
	if err := rows.Err(); err != nil || len(ids) < 2 {
		t.Fatalf("%d keys: %v", len(ids), err)
	}

	// A client of one's own can skip the entry only with the act.
	tx := rotator.MustBegin()
	tx.MustExec(spoil, purposes, ids, old, zero)
	_ = tx.Rollback()
	if n := c.count(t, `SELECT count(*) FROM cloakroom.data_keys WHERE kek = 'file:///lost'`); n != 0 {
		t.Fatalf("%d keys are changed after a rollback", n)
	}
	rotator.MustExec(spoil, purposes, ids, old, zero)
	if n := c.entries(t, "key.rewrap", c.Role("rotator"), "file:///lost", `"data_keys":[1]`); n != 1 {
		t.Errorf("%d entries say that the rotator rewrapped data key 1, want 1", n)
	}
	if _, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{}); err == nil {
		t.Error("an opening under a spoiled key succeeds")
	}
	// Again and again, to push what was good out of the table.
	now := zero
	var refused error
	for n := range 40 {
		next := pq.ByteaArray{bytes.Repeat([]byte{byte(n + 1)}, 64)}
		if _, refused = rotator.Exec(spoil, pq.StringArray{"seal"}, pq.Int32Array{1}, pq.ByteaArray{now[len(now)-1]}, next); refused != nil {
			break
		}
		now = next
	}
	wantCode(t, refused, pg.NotAllowedByVault)

	// Nothing is destroyed.
	report, err := rotation.UndoRewrap(t.Context(), c.Vault(t, url), rotation.Options{})
	if err != nil || len(report.Restored) != len(ids) {
		t.Fatalf("undo: %+v (%v), want %d keys", report, err, len(ids))
	}
	if n := c.entries(t, "key.restore"); n != len(ids) {
		t.Errorf("%d entries of restored keys, want %d", n, len(ids))
	}
	opened, err := c.alice.Open(t.Context(), c.approved(t, params(nil)), recovery.OpenOptions{})
	if err != nil || opened.Rows != 2 {
		t.Fatalf("after the undo: %v", err)
	}
	opened.Close()
	if report, err = rotation.UndoRewrap(t.Context(), c.Vault(t, url), rotation.Options{}); err != nil || len(report.Restored) != 0 {
		t.Errorf("again: %+v (%v), want nothing to do", report, err)
	}
}

// Nobody destroys alone: the owner says how far, a rotator does it.
func abuseShredAlone(t *testing.T) {
	c := newFixture(t)
	rotator := c.Pool(t, c.As(t, "rotator", "rotator"))
	next := today.AddDate(0, 1, 1-today.Day()).Format(time.DateOnly)
	_, err := rotator.Exec(`SELECT cloakroom.begin_shred($1)`, next)
	wantCode(t, err, pg.NotApproved)
	if n := c.count(t, `SELECT count(*) FROM cloakroom.data_keys WHERE wrapped IS NULL`); n != 0 {
		t.Errorf("%d keys are gone", n)
	}
	_, err = rotator.Exec(`SELECT cloakroom.set_policy('shred_before', $1)`, next)
	wantCode(t, err, "42501")
	for _, early := range []string{"34 days", "-1 day"} {
		_, err = rotator.Exec(`SELECT cloakroom.shred_retired($1)`, early)
		wantCode(t, err, pg.NotAllowedByVault)
	}
	c.admin.MustExec(`SELECT cloakroom.set_policy('shred_before', $1)`, next)
	if n := c.entries(t, "policy", "shred_before", next); n != 1 {
		t.Errorf("%d entries say who allowed it, want 1", n)
	}
	if _, err := rotator.Exec(`SELECT cloakroom.begin_shred($1)`, next); err != nil {
		t.Error(err)
	}
	if n := c.count(t, `SELECT count(*) FROM cloakroom.replaced_keys WHERE purpose = 'seal'`); n != 0 {
		t.Errorf("%d wrapped keys of shredded months are left", n)
	}
}

// Roles are given and taken in the open.
func abuseSilentGrant(t *testing.T) {
	c := newFixture(t)
	c.As(t, "mallory")
	mallory := c.Role("mallory")
	limit, err := keys.Grant(t.Context(), c.URL(""), mallory, "auditor", keys.GrantOptions{})
	if err != nil || limit != 10 {
		t.Fatalf("a limit of %d connections (%v), want 10", limit, err)
	}
	if n := c.count(t, `SELECT rolconnlimit FROM pg_roles WHERE rolname = $1`, mallory); n != 10 {
		t.Errorf("the login may have %d connections, want 10", n)
	}
	if err := keys.Revoke(t.Context(), c.URL(""), mallory, "auditor"); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"grant", "revoke"} {
		if n := c.entries(t, kind, mallory, `"fields":["auditor"`); n != 1 {
			t.Errorf("%d entries of a %s, want 1", n, kind)
		}
	}
	if err := keys.Revoke(t.Context(), c.URL(""), mallory, "auditor"); pg.Code(err) != pg.NotAllowedByVault {
		t.Errorf("revoked again: %v", err)
	}
	// By hand, past the log: the lists say so.
	c.admin.MustExec(`GRANT cloakroom_approver TO ` + pq.QuoteIdentifier(mallory))
	c.admin.MustExec(`SELECT cloakroom.set_policy('approvals', '2')`)
	list, err := keys.Holders(t.Context(), c.Pool(t, c.bobURL))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, h := range list {
		found = found || h.Login == mallory && h.Role == "approver" && h.GrantedBy == nil && h.Connections == 10
	}
	if !found {
		t.Errorf("keys grants does not say that mallory approves without a grant in the log: %+v", list)
	}
	day := today.Format(time.DateOnly)
	for _, args := range [][]string{{"report", "--from", day, "--to", day}, {"log", "show"}} {
		p := c.start(t, c.bobURL, args...)
		if code := p.wait(); code != cli.ExitDone {
			t.Fatalf("%v: exit %d: %s", args, code, &p.stderr)
		}
		for _, want := range []string{"auditor to " + mallory, "auditor from " + mallory, "approvals from 1 to 2"} {
			if !strings.Contains(p.stdout.String(), want) {
				t.Errorf("%v does not say %q:\n%s", args, want, &p.stdout)
			}
		}
		if args[0] == "report" && !strings.Contains(p.stdout.String(), mallory+" holds approver, without an entry") {
			t.Errorf("the report does not name what was granted by hand:\n%s", &p.stdout)
		}
	}
}

// With both roles in one login, an auditor would read the tokens of colleagues' requests.
func abuseAuditorWhoApproves(t *testing.T) {
	c := newFixture(t)
	for _, pair := range [][2]string{{"auditor", "approver"}, {"approver", "auditor"}, {"breakglass", "approver"}} {
		login := strings.Join(pair[:], "_")
		c.As(t, login)
		if _, err := keys.Grant(t.Context(), c.URL(""), c.Role(login), pair[0], keys.GrantOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Grant(t.Context(), c.URL(""), c.Role(login), pair[1], keys.GrantOptions{}); pg.Code(err) != pg.NotAllowedByVault {
			t.Errorf("%s after %s: %v", pair[1], pair[0], err)
		}
	}
	// Who owns the vault may GRANT by hand. The functions refuse a login that holds both.
	id := c.request(t, params(nil))
	both := c.client(t, c.As(t, "both", "auditor", "approver"))
	if _, err := both.Show(t.Context(), id); err == nil {
		t.Error("it is shown somebody else's request")
	}
	if list, err := both.List(t.Context(), false, false); err != nil || len(list) != 0 {
		t.Errorf("it lists %d requests of others (%v)", len(list), err)
	}
	shown, err := c.bob.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	_, err = both.Approve(t.Context(), shown)
	wantExit(t, err, cli.ExitNotYours)
	wantExit(t, both.Deny(t.Context(), id, "no"), cli.ExitNotYours)
	_, err = both.Request(t.Context(), params(nil))
	wantExit(t, err, cli.ExitNotYours)
	// The second role comes after the approval.
	if _, err := c.bob.Approve(t.Context(), shown); err != nil {
		t.Fatal(err)
	}
	c.admin.MustExec(`GRANT cloakroom_approver TO ` + pq.QuoteIdentifier(c.Role("alice")))
	_, err = c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
}
