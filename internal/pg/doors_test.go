package pg_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
)

var update = flag.Bool("update", false, "write testdata/doors.txt anew: read the difference before you commit it")

const doorsFile = "testdata/doors.txt"

// doors lists all that a role, or PUBLIC, may do with cloakroom's objects, from the catalogs: each table, view, column,
// sequence, function, schema, and the database itself. The system's own objects and the owner are left out.
const doors = `
WITH roles AS (
  SELECT oid, rolname::text AS role FROM pg_roles WHERE rolname LIKE 'cloakroom\_%' AND rolname <> 'cloakroom_owner'
  UNION ALL SELECT 0, 'PUBLIC'),
schemas AS (SELECT oid, nspname, nspacl, nspowner FROM pg_namespace WHERE nspname IN ('cloakroom', 'public')),
doors AS (
  SELECT a.grantee, a.privilege_type AS may, 'database' AS what FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
   WHERE d.datname = current_database()
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'schema ' || s.nspname FROM schemas s, aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner))) a
  UNION ALL
  SELECT a.grantee, a.privilege_type, CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE 'table ' END || c.oid::regclass
    FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace,
         aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'column ' || c.oid::regclass || '.' || t.attname
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN schemas s ON s.oid = c.relnamespace, aclexplode(t.attacl) a
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'function ' || p.oid::regprocedure
    FROM pg_proc p JOIN schemas s ON s.oid = p.pronamespace, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'type ' || y.oid::regtype
    FROM pg_type y JOIN schemas s ON s.oid = y.typnamespace, aclexplode(y.typacl) a)
SELECT replace(r.role, 'cloakroom_', '') || ' ' || lower(d.may) || ' ' || d.what FROM doors d JOIN roles r ON r.oid = d.grantee ORDER BY 1`

func migrated(t *testing.T) *sqlx.DB {
	t.Helper()
	db := pgtest.New(t)
	if err := pg.Migrate(t.Context(), db.URL("")); err != nil {
		t.Fatal(err)
	}
	return db.Open(t, "")
}

// Each role has the doors that testdata/doors.txt lists, and no other. A new door is a change for a reviewer to see.
func TestDoors(t *testing.T) {
	t.Parallel()
	var got []string
	if err := migrated(t).Select(&got, doors); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(doorsFile, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(doorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(text)), "\n"), got); diff != "" {
		t.Errorf("(-%s +database), go test ./internal/pg -run Doors -update accepts it:\n%s", doorsFile, diff)
	}
}

// What the design promises of the roles, whatever doors are added.
func TestDoorsKeepThePromises(t *testing.T) {
	t.Parallel()
	var got []string
	if err := migrated(t).Select(&got, doors); err != nil {
		t.Fatal(err)
	}
	allowed := []string{
		"analyst select view user_logins", "analyst select view user_login_duplicates",
		"PUBLIC connect database", "PUBLIC usage schema public",
	}
	for _, door := range got {
		role, rest, _ := strings.Cut(door, " ")
		switch {
		case slices.Contains(allowed, door):
		case role == "PUBLIC" && door == "PUBLIC create schema public": // Postgres 14's own default
		case role != "PUBLIC" && role != "analyst" && (rest == "usage schema cloakroom" || strings.HasPrefix(rest, "execute function cloakroom.")):
		default:
			t.Errorf("a door that no role may have: %s", door)
		}
	}
	for _, door := range allowed[:2] {
		if !slices.Contains(got, door) {
			t.Errorf("missing: %s", door)
		}
	}
}

// A function that runs as the owner finds no object of the caller's: search_path is fixed, with pg_temp last. The rest
// of the owner's functions are not for callers.
func TestDefinersAreSafe(t *testing.T) {
	t.Parallel()
	db := migrated(t)
	var unsafe []string
	if err := db.Select(&unsafe, `
		SELECT p.oid::regprocedure::text FROM pg_proc p
		 WHERE p.pronamespace = 'cloakroom'::regnamespace
		   AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)`); err != nil {
		t.Fatal(err)
	}
	if len(unsafe) > 0 {
		t.Errorf("functions without SET search_path = pg_catalog, pg_temp: %v", unsafe)
	}
	if err := db.Select(&unsafe, `
		SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'cloakroom'::regnamespace AND p.proowner <> 'cloakroom_owner'::regrole
		UNION ALL
		SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'cloakroom'::regnamespace AND c.relowner <> 'cloakroom_owner'::regrole`); err != nil {
		t.Fatal(err)
	}
	if len(unsafe) > 0 {
		t.Errorf("not the owner's: %v", unsafe)
	}
	// A function that others may call and that runs as the caller would need the caller's privileges: it has none.
	if err := db.Select(&unsafe, `
		SELECT DISTINCT p.oid::regprocedure::text FROM pg_proc p, aclexplode(p.proacl) a
		 WHERE p.pronamespace = 'cloakroom'::regnamespace AND a.grantee <> p.proowner AND NOT p.prosecdef`); err != nil {
		t.Fatal(err)
	}
	if len(unsafe) > 0 {
		t.Errorf("callable by others, but not SECURITY DEFINER: %v", unsafe)
	}
}

// The roles are groups: nobody logs in as one, and none has an attribute that opens more.
func TestRolesAreGroups(t *testing.T) {
	t.Parallel()
	var odd []string
	if err := migrated(t).Select(&odd, `
		SELECT rolname FROM pg_roles WHERE rolname LIKE 'cloakroom\_%'
		   AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)`); err != nil {
		t.Fatal(err)
	}
	if len(odd) > 0 {
		t.Errorf("%v are more than groups", odd)
	}
}
