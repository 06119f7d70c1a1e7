package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/internal/pg"
)

// Roles are the roles that a login can be granted.
var Roles = []string{"ingest", "analyst", "auditor", "approver", "rotator", "breakglass", "witness"}

// holdsIndexKey lists the roles whose work needs the index key. Who holds it and reads tokens can
// compute the tokens of all IPv4 addresses within minutes, so none of these may also be an analyst.
var holdsIndexKey = []string{"ingest", "auditor", "breakglass"}

// Grant gives a login one of the roles. It refuses a login that would hold the index key and also
// read tokens, which only the rotator may, and one that would watch its own work as a witness.
func Grant(ctx context.Context, url, login, role string) error {
	if !slices.Contains(Roles, role) {
		return fmt.Errorf("granting role %q: the roles are %s", role, strings.Join(Roles, ", "))
	}
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom grant"})
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return pg.Unreachable(err)
	}
	defer tx.Rollback()
	if err := checkGrant(ctx, tx, login, role); err != nil {
		return fmt.Errorf("granting %s to %s: %w", role, login, err)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`GRANT %s TO %s`, pq.QuoteIdentifier("cloakroom_"+role),
		pq.QuoteIdentifier(login))); err != nil {
		return fmt.Errorf("granting %s to %s: %w", role, login, pg.Redact(err))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("granting %s to %s: %w", role, login, pg.Redact(err))
	}
	return nil
}

func checkGrant(ctx context.Context, tx *sqlx.Tx, login, role string) error {
	var found []struct {
		Super bool `db:"rolsuper"`
		Login bool `db:"rolcanlogin"`
	}
	if err := tx.SelectContext(ctx, &found, `SELECT rolsuper, rolcanlogin FROM pg_roles WHERE rolname = $1`,
		login); err != nil {
		return pg.Redact(err)
	}
	switch {
	case len(found) == 0:
		return fmt.Errorf("there is no such login: CREATE ROLE %s LOGIN PASSWORD '…' first",
			pq.QuoteIdentifier(login))
	case !found[0].Login:
		return errors.New("it is a group, not a login: people and daemons have logins of their own")
	case found[0].Super:
		return errors.New("it is a superuser and holds every role already: use another login")
	}
	var held []string
	if err := tx.SelectContext(ctx, &held, `
		SELECT pg_catalog.substr(r.rolname::text, 11) FROM pg_catalog.pg_roles r
		 WHERE r.rolname LIKE 'cloakroom\_%' AND pg_has_role($1, r.oid, 'MEMBER')`, login); err != nil {
		return pg.Redact(err)
	}
	if slices.Contains(held, "owner") {
		return errors.New("it is a member of cloakroom_owner and may do everything already: use another login")
	}
	for _, other := range held {
		if witnesses(role, other) {
			return fmt.Errorf("it holds %s already; a witness keeps the audit log against those who open and "+
				"approve: use another login (docs/threat-model.md)", other)
		}
		if conflict(role, other) {
			return fmt.Errorf("it holds %s already; together they hold the index key and see tokens, and could "+
				"find every address behind them: use another login (docs/threat-model.md)", other)
		}
	}
	return nil
}

// witnesses reports that one of two roles is to watch the other.
func witnesses(a, b string) bool {
	watched := []string{"auditor", "breakglass", "approver", "rotator"}
	return a == "witness" && slices.Contains(watched, b) || b == "witness" && slices.Contains(watched, a)
}

// conflict reports that two roles together hold the index key and read tokens.
func conflict(a, b string) bool {
	return a == "analyst" && (slices.Contains(holdsIndexKey, b) || b == "rotator") ||
		b == "analyst" && (slices.Contains(holdsIndexKey, a) || a == "rotator")
}
