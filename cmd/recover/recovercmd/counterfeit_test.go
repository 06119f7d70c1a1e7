package recovercmd

import (
	"strings"
	"testing"

	"cloakroom/keys/keystest"
)

// What a client of one's own might say to the doors of an auditor, and must not get away with.
func TestDoorsRefuseCounterfeits(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	env.As(t, "auditor", "auditor")
	env.As(t, "approver", "approver")
	auditor, approver := env.Open(t, env.Role("auditor")), env.Open(t, env.Role("approver"))

	const token = "AAAAAAAAAAAAAAAAAAAAAA"
	ask := `SELECT cloakroom.request('fraud', 'T', 'why', $1::text[], p_field => $2, p_tokens => ARRAY[$3])`
	for name, c := range map[string]struct{ fields, field, want string }{
		// A field that has no tokens once dropped the condition, and selected everybody.
		"a token of no protected field": {"{device_id}", "body", "a token belongs to a protected field"},
		"a token of a clear field":      {"{device_id}", "user_id", "a token belongs to a protected field"},
		"a field without a name":        {"{device_id,NULL}", "device_id", "a field is not named"},
	} {
		if _, err := auditor.Exec(ask, c.fields, c.field, token); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}

	var id string
	if err := auditor.Get(&id, ask, "{device_id}", "device_id", token); err != nil {
		t.Fatal(err)
	}
	approver.MustExec(`SELECT cloakroom.approve(id, digest) FROM cloakroom.show_request($1)`, id)
	auditor.MustExec(`SELECT cloakroom.begin_opening($1, 'here')`, id)
	if _, err := auditor.Exec(`SELECT cloakroom.note_refusal($1, 'nothing happened')`, id); err == nil || !strings.Contains(err.Error(), "being opened") {
		t.Errorf("a refusal noted during an opening: %v", err)
	}
	if _, err := approver.Exec(`SELECT cloakroom.note_refusal($1, 'nothing happened')`, id); err == nil || !strings.Contains(err.Error(), "being opened") {
		t.Errorf("a refusal noted by somebody else: %v", err)
	}
	// Until rows are handed out an approver may stop it.
	approver.MustExec(`SELECT cloakroom.deny($1, 'second thoughts')`, id)
	if _, err := auditor.Exec(`SELECT cloakroom.confirm_opening($1)`, id); err == nil {
		t.Error("an opening went on after it was denied")
	}
}
