package pgtest

import (
	"fmt"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/internal/sandbox/pgserver"
)

// DB is one test's database.
type DB struct {
	name   string
	server *pgserver.Server
}

// Name is the database's name, fit to stand unquoted in SQL.
func (d *DB) Name() string { return d.name }

// Server is the server all tests of the process share: not one to kill.
func (d *DB) Server() *pgserver.Server { return d.server }

// URL addresses the database as a role; empty: as the superuser.
func (d *DB) URL(role string) string {
	if role == "" {
		role = d.server.SuperUser()
	}
	return d.server.URL(role, d.name)
}

// Open connects to the database as a role, empty for the superuser, and closes
// the connections when the test ends.
func (d *DB) Open(t testing.TB, role string) *sqlx.DB {
	t.Helper()
	// Not t.Context(): a Cleanup may want to look at the database, too.
	db, err := sqlx.Connect("postgres", d.URL(role))
	if err != nil {
		t.Fatalf("pgtest: connecting as %q: %v", role, err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("pgtest: closing connections: %v", err)
		}
	})
	return db
}

// Role is what Login calls a login in the server, where roles of all databases
// share their names: alice becomes alice_test_7.
func (d *DB) Role(name string) string { return name + "_" + d.name }

// Login makes a role that can log in, for this test alone, grants it the group
// roles and returns its URL. When the test ends the role is dropped with all it
// owns and was granted in this database.
func (d *DB) Login(t testing.TB, name string, roles ...string) string {
	t.Helper()
	role := d.Role(name)
	if len(role) > 63 {
		t.Fatalf("pgtest: %q is longer than Postgres's names are", role)
	}
	login := pq.QuoteIdentifier(role)
	if _, err := shared.admin.ExecContext(t.Context(), "CREATE ROLE "+login+" LOGIN"); err != nil {
		t.Fatalf("pgtest: creating a login: %v", err)
	}
	t.Cleanup(func() {
		if err := d.dropLogin(role); err != nil {
			t.Errorf("pgtest: dropping login %s: %v", role, err)
		}
	})
	for _, group := range roles {
		if _, err := shared.admin.ExecContext(t.Context(), "GRANT "+pq.QuoteIdentifier(group)+" TO "+login); err != nil {
			t.Fatalf("pgtest: granting %s to a login: %v", group, err)
		}
	}
	return d.URL(role)
}

// Program is the path of a client program that works with a server, such as psql or pg_dump. The test fails where there
// is none: it never skips.
func Program(t testing.TB, server *pgserver.Server, name string) string {
	t.Helper()
	path, err := server.Program(name)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return path
}

// dropLogin first cuts the role's sessions: one that holds a lock would have us
// wait forever.
func (d *DB) dropLogin(role string) error {
	db, err := sqlx.Connect("postgres", d.URL(""))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", role); err != nil {
		return err
	}
	login, heir := pq.QuoteIdentifier(role), pq.QuoteIdentifier(d.server.SuperUser())
	_, err = db.Exec(fmt.Sprintf("REASSIGN OWNED BY %[1]s TO %[2]s; DROP OWNED BY %[1]s; DROP ROLE %[1]s", login, heir))
	return err
}
