package keys_test

import (
	"fmt"
	"strings"
	"testing"

	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

func TestGrantRefuses(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	admin := env.URL("")
	env.As(t, "plain")
	env.Open(t, "").MustExec(`ALTER ROLE cloakroom_analyst NOLOGIN`)
	for _, c := range []struct {
		name, login, role, want string
	}{
		{"an unknown role", env.Role("plain"), "admin", "the roles are ingest"},
		{"the owner", env.Role("plain"), "owner", "the roles are ingest"},
		{"a role with a quote", env.Role("plain"), `ingest" TO public; --`, "the roles are ingest"},
		{"an unknown login", "nobody_at_all", "ingest", "no such login"},
		{"a group", "cloakroom_auditor", "ingest", "a group, not a login"},
		{"a superuser", env.Server().SuperUser(), "ingest", "is a superuser"},
	} {
		if _, err := keys.Grant(t.Context(), admin, c.login, c.role, keys.GrantOptions{}); err == nil || !strings.Contains(err.Error(),
			c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	env.As(t, "owning", "owner")
	if _, err := keys.Grant(t.Context(), admin, env.Role("owning"), "analyst", keys.GrantOptions{}); err == nil || !strings.Contains(err.Error(), "member of cloakroom_owner") {
		t.Errorf("to an owner: %v", err)
	}
}

// Nobody holds the index key and reads tokens, both: whichever is granted first.
func TestGrantKeepsIndexKeyAndTokensApart(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	apart := map[string]bool{"ingest": true, "auditor": true, "breakglass": true, "rotator": true}
	// And nobody is a witness of what they do themselves.
	watched := map[string]bool{"auditor": true, "breakglass": true, "approver": true, "rotator": true}
	// Who asks does not decide, and does not read others' requests.
	asks := map[string]bool{"auditor": true, "breakglass": true}
	n := 0
	for _, first := range keys.Roles {
		for _, second := range keys.Roles {
			n++
			login := fmt.Sprintf("l%d", n)
			env.As(t, login)
			if _, err := keys.Grant(t.Context(), env.URL(""), env.Role(login), first, keys.GrantOptions{}); err != nil {
				t.Fatalf("%s first: %v", first, err)
			}
			_, err := keys.Grant(t.Context(), env.URL(""), env.Role(login), second, keys.GrantOptions{})
			want := first == "analyst" && apart[second] || second == "analyst" && apart[first] ||
				first == "witness" && watched[second] || second == "witness" && watched[first] ||
				first == "approver" && asks[second] || second == "approver" && asks[first]
			if (err != nil) != want {
				t.Errorf("%s, then %s: %v, want a refusal: %v", first, second, err, want)
			}
		}
	}
	// Through a group in between, too.
	env.As(t, "group")
	env.As(t, "member")
	db := env.Open(t, "")
	db.MustExec(fmt.Sprintf(`GRANT cloakroom_ingest TO %q; GRANT %q TO %q`, env.Role("group"), env.Role("group"),
		env.Role("member")))
	if _, err := keys.Grant(t.Context(), env.URL(""), env.Role("member"), "analyst", keys.GrantOptions{}); err == nil {
		t.Error("a login that holds ingest through a group became an analyst")
	}
}
