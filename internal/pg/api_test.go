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

var update = flag.Bool("update", false, "write schema/api.txt again: read the difference before you commit it")

const apiFile = "schema/api.txt"

const apiHeader = `# Written by go test ./internal/pg -run TestAPI -update. Review each line: it is who may do what.
# function | arguments | result | arguments with a default | roles that may execute it
`

// apiQuery lists the functions from the catalogs, as apiFunctions reads them.
const apiQuery = `
SELECT concat_ws(' | ', p.oid::regprocedure, coalesce(nullif(pg_get_function_identity_arguments(p.oid), ''), ''),
                 pg_get_function_result(p.oid), p.pronargdefaults, coalesce((
         SELECT string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                ELSE replace(pg_get_userbyid(a.grantee), 'cloakroom_', '') END, ' '
                           ORDER BY pg_get_userbyid(a.grantee))
           FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee <> p.proowner), 'owner'))
  FROM pg_proc p WHERE p.pronamespace = 'cloakroom'::regnamespace ORDER BY 1`

// grants lists all that a role, or PUBLIC, may do with cloakroom's objects, from the catalogs: each table, view,
// column, sequence, function, schema, and the database itself. The system's own objects and the owner are left out.
const grants = `
WITH roles AS (
  SELECT oid, rolname::text AS role FROM pg_roles WHERE rolname LIKE 'cloakroom\_%' AND rolname <> 'cloakroom_owner'
  UNION ALL SELECT 0, 'PUBLIC'),
schemas AS (SELECT oid, nspname, nspacl, nspowner FROM pg_namespace WHERE nspname IN ('cloakroom', 'public')),
grants AS (
  SELECT a.grantee, a.privilege_type AS may, 'database' AS what
    FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
   WHERE d.datname = current_database()
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'schema ' || s.nspname
    FROM schemas s, aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner))) a
  UNION ALL
  SELECT a.grantee, a.privilege_type,
         CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE 'table ' END || c.oid::regclass
    FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace,
         aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'column ' || c.oid::regclass || '.' || t.attname
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN schemas s ON s.oid = c.relnamespace,
         aclexplode(t.attacl) a
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'function ' || p.oid::regprocedure
    FROM pg_proc p JOIN schemas s ON s.oid = p.pronamespace,
         aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  UNION ALL
  SELECT a.grantee, a.privilege_type, 'type ' || y.oid::regtype
    FROM pg_type y JOIN schemas s ON s.oid = y.typnamespace, aclexplode(y.typacl) a)
SELECT replace(r.role, 'cloakroom_', '') || ' ' || lower(g.may) || ' ' || g.what
  FROM grants g JOIN roles r ON r.oid = g.grantee ORDER BY 1`

func migrated(t *testing.T) *sqlx.DB {
	t.Helper()
	db := pgtest.New(t)
	if err := pg.Migrate(t.Context(), db.URL("")); err != nil {
		t.Fatal(err)
	}
	return db.Open(t, "")
}

// describe is what api.txt must say of a database.
func describe(t *testing.T, db *sqlx.DB) string {
	t.Helper()
	tx := db.MustBegin()
	defer tx.Rollback()
	tx.MustExec(`SET LOCAL search_path = pg_catalog, pg_temp`)
	var functions, others []string
	if err := tx.Select(&functions, apiQuery); err != nil {
		t.Fatal(err)
	}
	if err := tx.Select(&others, grants); err != nil {
		t.Fatal(err)
	}
	others = slices.DeleteFunc(others, func(grant string) bool {
		return strings.Contains(grant, " execute function cloakroom.")
	})
	return apiHeader + strings.Join(functions, "\n") + "\n# Grants on all else\n" + strings.Join(others, "\n") + "\n"
}

// Functions have the signatures, and roles the grants, that api.txt lists, and no others. It is for a reviewer to
// see.
func TestAPI(t *testing.T) {
	t.Parallel()
	if *update {
		db := pgtest.New(t)
		if err := pg.MigrateUnlisted(t.Context(), db.URL("")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(apiFile, []byte(describe(t, db.Open(t, ""))), 0o644); err != nil {
			t.Fatal(err)
		}
		return // this binary holds the old text
	}
	want, err := os.ReadFile(apiFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(describe(t, migrated(t)), "\n")); diff != "" {
		t.Errorf("(-%s +database), go test ./internal/pg -run TestAPI -update accepts it:\n%s", apiFile, diff)
	}
}

// What the design promises of the roles, whatever is granted.
func TestGrantsKeepThePromises(t *testing.T) {
	t.Parallel()
	var got []string
	if err := migrated(t).Select(&got, grants); err != nil {
		t.Fatal(err)
	}
	allowed := []string{
		"PUBLIC usage schema public",
	}
	for _, grant := range got {
		role, rest, _ := strings.Cut(grant, " ")
		switch {
		case slices.Contains(allowed, grant):
		case role == "PUBLIC" && grant == "PUBLIC create schema public": // Postgres 14's own default
		case role != "PUBLIC" && rest == "connect database":
		case role != "PUBLIC" && role != "analyst" &&
			(rest == "usage schema cloakroom" || strings.HasPrefix(rest, "execute function cloakroom.")):
		default:
			t.Errorf("no role may have: %s", grant)
		}
	}
	if len(got) < 50 {
		t.Errorf("only %d grants were looked at", len(got))
	}
}

// A function that runs as the owner finds no object of the caller's: search_path is fixed, with pg_temp last. The
// rest of the owner's functions are not for callers.
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
		SELECT p.oid::regprocedure::text FROM pg_proc p
		 WHERE p.pronamespace = 'cloakroom'::regnamespace AND p.proowner <> 'cloakroom_owner'::regrole
		UNION ALL
		SELECT c.oid::regclass::text FROM pg_class c
		 WHERE c.relnamespace = 'cloakroom'::regnamespace AND c.relowner <> 'cloakroom_owner'::regrole`); err != nil {
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
