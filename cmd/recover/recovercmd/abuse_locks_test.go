package recovercmd

import (
	"context"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/keys"
)

// Connections are a lock, too: 97 of them kept everybody out.
func abuseConnections(t *testing.T) {
	c := newFixture(t)
	if _, err := sqlx.Connect("postgres", c.As(t, "stranger")); err == nil {
		t.Error("a login without a role of the vault's connects")
	} else {
		wantCode(t, err, "42501")
	}
	url := c.As(t, "mallory")
	if _, err := keys.Grant(t.Context(), c.URL(""), c.Role("mallory"), "auditor", keys.GrantOptions{}); err != nil {
		t.Fatal(err)
	}
	db, err := sqlx.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for n := range 20 {
		if _, err = db.Connx(context.Background()); err != nil {
			if n != 10 {
				t.Errorf("%d connections of an auditor's login, want 10", n)
			}
			break
		}
	}
	wantCode(t, err, "53300")
	// Everybody else goes on.
	c.request(t, params(nil))
}
