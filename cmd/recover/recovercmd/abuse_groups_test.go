package recovercmd

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	recovery "cloakroom/recover"
)

// withGroups is a vault whose policy wants an approval of compliance and one of security. Alice requests, of group
// fraud.
func withGroups(t *testing.T) *fixture {
	c := newFixture(t)
	c.grant(t, "alice", "auditor", "fraud")
	c.grant(t, "bob", "approver", "compliance")
	c.admin.MustExec(`SELECT cloakroom.set_policy('approval_groups', '{compliance,security}')`)
	return c
}

// newcomer is a login that keys grant gave a role and a group.
func (c *fixture) newcomer(t testing.TB, login, role, group string) *recovery.Client {
	t.Helper()
	client := c.client(t, c.As(t, login))
	c.grant(t, login, role, group)
	return client
}

func (c *fixture) grant(t testing.TB, login, role, group string) {
	t.Helper()
	if _, err := keys.Grant(t.Context(), c.URL(""), c.Role(login), role, keys.GrantOptions{Group: group}); err != nil {
		t.Fatal(err)
	}
}

func (c *fixture) approve(t testing.TB, by *recovery.Client, id uuid.UUID) (state string, err error) {
	t.Helper()
	shown, err := by.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return by.Approve(t.Context(), shown)
}

// wantUnopened fails if the request opens, or if it has an intent.
func (c *fixture) wantUnopened(t testing.TB, id uuid.UUID) {
	t.Helper()
	_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
	if n := c.intents(t, id); n != 0 {
		t.Errorf("%d intents, want none", n)
	}
}

func abuseOneGroup(t *testing.T) {
	c := withGroups(t)
	benno := c.newcomer(t, "benno", "approver", "compliance")
	id := c.request(t, params(nil))
	for _, by := range []*recovery.Client{c.bob, benno} {
		if state, err := c.approve(t, by, id); state != "requested" || err != nil {
			t.Fatalf("approved by compliance alone: %q, %v", state, err)
		}
	}
	shown, err := c.bob.Show(t.Context(), id)
	if err != nil || shown.Missing == nil || *shown.Missing != "none of security" {
		t.Errorf("missing is %v, %v", shown.Missing, err)
	}
	c.wantUnopened(t, id)
	// However the state came to be written: the approvals are counted again.
	c.admin.MustExec(`UPDATE cloakroom.requests SET state = 'approved' WHERE id = $1`, id)
	c.wantUnopened(t, id)
	c.admin.MustExec(`UPDATE cloakroom.requests SET state = 'requested' WHERE id = $1`, id)

	if state, err := c.approve(t, c.newcomer(t, "sara", "approver", "security"), id); state != "approved" || err != nil {
		t.Fatalf("approved by both groups: %q, %v", state, err)
	}
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	r, err := c.bob.MakeReport(t.Context(), today, today.AddDate(0, 0, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Openings[0].Approvers, ", "); !strings.Contains(got, "(compliance)") || !strings.Contains(got, "(security)") {
		t.Errorf("the report says %q approved", got)
	}
	if len(r.Logins) != 4 || r.Logins[0].What != "group" || *r.Logins[0].New != "fraud" {
		t.Errorf("the report has the groups %+v", r.Logins)
	}
}

func abuseOwnGroup(t *testing.T) {
	c := newFixture(t)
	c.grant(t, "alice", "auditor", "fraud")
	c.grant(t, "bob", "approver", "fraud")
	id := c.request(t, params(nil))
	// Groups are set, so they count, whether or not the policy names any.
	_, err := c.approve(t, c.bob, id)
	wantCode(t, err, pg.NotApproved)
	c.wantUnopened(t, id)
	// Alice joins the group of who approved her request.
	c.grant(t, "bob", "approver", "compliance")
	if state, err := c.approve(t, c.bob, id); state != "approved" || err != nil {
		t.Fatalf("%q, %v", state, err)
	}
	c.grant(t, "alice", "auditor", "compliance")
	c.wantUnopened(t, id)
	// Of a group that must approve: nobody's approval could ever count.
	c.admin.MustExec(`SELECT cloakroom.set_policy('approval_groups', '{compliance,security}')`)
	_, err = c.alice.Request(t.Context(), params(nil))
	wantCode(t, err, pg.NotApproved)
}

func abuseGroupChanged(t *testing.T) {
	c := withGroups(t)
	benno := c.newcomer(t, "benno", "approver", "compliance")
	sara := c.newcomer(t, "sara", "approver", "security")
	// Two of compliance approve, and one of them becomes security: the approvals were of one group.
	id := c.request(t, params(nil))
	for _, by := range []*recovery.Client{c.bob, benno} {
		if _, err := c.approve(t, by, id); err != nil {
			t.Fatal(err)
		}
	}
	c.grant(t, "benno", "approver", "security")
	c.admin.MustExec(`UPDATE cloakroom.requests SET state = 'approved' WHERE id = $1`, id)
	c.wantUnopened(t, id)
	c.admin.MustExec(`UPDATE cloakroom.requests SET state = 'requested' WHERE id = $1`, id)
	// As one of security he looks again, and approves.
	if state, err := c.approve(t, benno, id); state != "approved" || err != nil {
		t.Fatalf("approved once more: %q, %v", state, err)
	}
	// Approved by both groups; then one approver leaves, with the last role.
	id = c.request(t, params(nil))
	for _, by := range []*recovery.Client{c.bob, sara} {
		if _, err := c.approve(t, by, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := keys.Revoke(t.Context(), c.URL(""), c.Role("sara"), "approver"); err != nil {
		t.Fatal(err)
	}
	c.wantUnopened(t, id)
}

func abuseNoGroup(t *testing.T) {
	c := withGroups(t)
	byHand := c.client(t, c.As(t, "mallory", "approver"))
	id := c.request(t, params(nil))
	_, err := c.approve(t, byHand, id)
	wantCode(t, err, pg.NotApproved)
	if _, err := c.approve(t, c.bob, id); err != nil {
		t.Fatal(err)
	}
	c.wantUnopened(t, id)
	// An auditor by hand could be of any group, and so of the approvers'.
	_, err = c.client(t, c.As(t, "moritz", "auditor")).Request(t.Context(), params(nil))
	wantCode(t, err, pg.NotApproved)
}

func abuseZeroApprovals(t *testing.T) {
	c := newFixture(t)
	for _, zero := range []string{"0", "00", "-0"} {
		_, err := c.admin.Exec(`SELECT cloakroom.set_policy('approvals', $1)`, zero)
		wantCode(t, err, pg.NotAllowedByVault)
	}
	c.admin.MustExec(`SELECT cloakroom.set_policy('approval_groups', '{compliance}')`)
	_, err := c.admin.Exec(`SELECT cloakroom.set_policy('approvals', 'none')`)
	wantCode(t, err, pg.NotAllowedByVault)
	c.admin.MustExec(`SELECT cloakroom.set_policy('approval_groups', '{}')`)
	c.admin.MustExec(`SELECT cloakroom.set_policy('approvals', 'none')`)
	r, err := c.bob.MakeReport(t.Context(), today, today.AddDate(0, 0, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	if last := r.PolicyChanges[len(r.PolicyChanges)-1]; last.Name != "approvals" || *last.Old != "1" || *last.New != "none" {
		t.Errorf("the report says %+v", last)
	}
}
