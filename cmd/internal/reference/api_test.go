package reference

import (
	"os"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
)

// function is an API function: what it is called with, who may, and what its COMMENT says.
type function struct{ Name, Arguments, Roles, Comment string }

// api are the functions of internal/pg/schema/api.txt that somebody other than the owner may
// execute. Package pg's test holds that list to the database.
func api(t *testing.T, db *sqlx.DB) []function {
	t.Helper()
	list, err := os.ReadFile("../../../internal/pg/schema/api.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []function
	for line := range strings.Lines(string(list)) {
		columns := strings.Split(strings.TrimSpace(line), " | ")
		if strings.HasPrefix(line, "#") || len(columns) != 5 || columns[4] == "owner" {
			continue
		}
		f := function{Arguments: columns[1], Roles: columns[4]}
		f.Name, _, _ = strings.Cut(strings.TrimPrefix(columns[0], "cloakroom."), "(")
		if err := db.Get(&f.Comment, `SELECT coalesce(obj_description(to_regprocedure($1), 'pg_proc'), '')`, columns[0]); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}
