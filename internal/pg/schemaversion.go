package pg

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Version is a schema's: the number of its newest tables file, and number and SHA-256 of its API functions.
type Version struct {
	Tables int64  `db:"tables" json:"tables"`
	API    int    `db:"number" json:"api"`
	SHA256 string `db:"sha256" json:"sha256"`
}

func (v Version) String() string {
	return fmt.Sprintf("tables %d, API %d (%.12s)", v.Tables, v.API, v.SHA256)
}

// ProgramVersion is of the schema that this program brings.
func ProgramVersion() Version {
	v := Version{API: apiNumber, SHA256: apiSHA256()}
	if _, versions, err := tables(); err == nil && len(versions) > 0 {
		v.Tables = versions[len(versions)-1]
	}
	return v
}

// SchemaVersion reads the database's version, which every role but the analyst may, and gives the program's beside
// it.
func SchemaVersion(ctx context.Context, db *sqlx.DB) (stored, program Version, err error) {
	program = ProgramVersion()
	if err := db.GetContext(ctx, &stored, `SELECT tables, number, sha256 FROM cloakroom.schema_version()`); err != nil {
		return stored, program, fmt.Errorf("reading the schema's version: %w", Redact(err))
	}
	return stored, program, nil
}

// Difference says how the database's version differs from the program's, and what to do; empty if they are the same.
func (v Version) Difference(program Version) string {
	switch {
	case v == program:
		return ""
	case v.Tables > program.Tables || v.API > program.API:
		return fmt.Sprintf("the database's schema (%v) is newer than this program's (%v): install the newer program",
			v, program)
	case v.Tables < program.Tables || v.API < program.API:
		return fmt.Sprintf("the database's schema (%v) is older than this program's (%v): run keys init", v, program)
	}
	return fmt.Sprintf("the database's API (%v) differs from this program's (%v) under the same number: "+
		"run keys init of the program that is in use", v, program)
}
