package pg

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Exposure says what about a server and its database lets somebody without any role of the vault's stop it, a
// sentence each with what to do. Any login may ask.
func Exposure(ctx context.Context, db *sqlx.DB) ([]string, error) {
	var s struct {
		Name     string `db:"name"`
		Connect  bool   `db:"connect"`
		Temp     bool   `db:"temp"`
		Prepared int    `db:"prepared"`
	}
	// Read back, not assumed: REVOKE by a login that may not is a warning, and a restored copy has Postgres's defaults.
	if err := db.GetContext(ctx, &s, `
		SELECT d.datname AS name, current_setting('max_prepared_transactions')::integer AS prepared,
		       coalesce(bool_or(a.privilege_type = 'CONNECT'), false) AS connect,
		       coalesce(bool_or(a.privilege_type = 'TEMPORARY'), false) AS temp
		  FROM pg_database d
		  LEFT JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a ON a.grantee = 0
		 WHERE d.datname = current_database() GROUP BY d.datname`); err != nil {
		return nil, fmt.Errorf("reading the database's privileges: %w", Redact(err))
	}
	var notes []string
	if s.Connect || s.Temp {
		notes = append(notes, fmt.Sprintf("every login of the server may use this database, and take its connections: as "+
			"its owner, REVOKE CONNECT, TEMPORARY ON DATABASE %q FROM PUBLIC, then keys init", s.Name))
	}
	if s.Prepared > 0 {
		notes = append(notes, fmt.Sprintf("max_prepared_transactions is %d: PREPARE TRANSACTION keeps a login's locks after "+
			"its session ends, until somebody rolls it back: set it to 0 unless another application needs it", s.Prepared))
	}
	return notes, nil
}
