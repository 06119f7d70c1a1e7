package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
)

// Roles are the roles that a login can be granted.
var Roles = []string{"ingest", "analyst", "auditor", "approver", "rotator", "breakglass", "witness"}

// GrantOptions are what a login gets beside a role.
type GrantOptions struct {
	Connections int    // at most at once; 0: the login's own limit, or the role's default
	Group       string // whose approvals count together; empty: as it is, "-": none
	Principal   string // the ARN with which the login calls KMS in this role; empty: as it is, "-": none
}

// Grant gives a login one of the roles. It returns the login's limit of connections: -1 where there is none, because
// the login at url may not set one. That is the login of keys init: as Postgres has it, who made the roles grants
// them. The database logs the act in its transaction.
//
// It refuses a login that would hold two roles that are kept apart (docs/threat-model.md): index key and tokens,
// asking and approving, the witness and whom it watches.
func Grant(ctx context.Context, url, login, role string, o GrantOptions) (limit int, err error) {
	err = change(ctx, url, role, func(db *sqlx.DB) error {
		return db.GetContext(ctx, &limit,
			`SELECT cloakroom.grant_role($1, $2, nullif($3, 0), nullif($4, ''), nullif($5, ''))`,
			login, role, o.Connections, o.Group, o.Principal)
	})
	if err != nil {
		return 0, fmt.Errorf("granting %s to %s: %w", role, login, err)
	}
	return limit, nil
}

// Revoke takes a role from a login. It refuses where the login would still hold the role, through a group.
func Revoke(ctx context.Context, url, login, role string) error {
	err := change(ctx, url, role, func(db *sqlx.DB) error {
		_, err := db.ExecContext(ctx, `SELECT cloakroom.revoke_role($1, $2)`, login, role)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoking %s from %s: %w", role, login, err)
	}
	return nil
}

func change(ctx context.Context, url, role string, f func(*sqlx.DB) error) error {
	if !slices.Contains(Roles, role) {
		return fmt.Errorf("the roles are %s", strings.Join(Roles, ", "))
	}
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom grant", MaxConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	return pg.Redact(f(db))
}

// Holder is a login that holds a role.
type Holder struct {
	Login       string     `db:"login" json:"login"`
	Role        string     `db:"role" json:"role"`               // superuser: holds every role
	Via         *string    `db:"via" json:"via"`                 // the group through which it does; nil: itself
	Connections int        `db:"connections" json:"connections"` // at most; -1: no limit
	GrantedBy   *string    `db:"granted_by" json:"granted_by"`   // nil: by hand, without an entry in the audit log
	GrantedAt   *time.Time `db:"granted_at" json:"granted_at"`
	Group       *string    `db:"group_name" json:"group"`    // nil: none
	Principal   *string    `db:"principal" json:"principal"` // of AWS, in this role; nil: none is known
}

// Holders lists which login holds which role. Its login needs the role auditor, approver, rotator or witness.
func Holders(ctx context.Context, db *sqlx.DB) ([]Holder, error) {
	list := []Holder{}
	if err := db.SelectContext(ctx, &list, `SELECT * FROM cloakroom.grants()`); err != nil {
		return nil, fmt.Errorf("listing grants: %w", pg.RedactFor("auditor, approver, rotator or witness", err))
	}
	return list, nil
}
