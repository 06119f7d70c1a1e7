package pg_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
	"cloakroom/test/long"
)

// callers call what a daemon calls, as its login, until stop is called. It returns how many calls were made and the
// errors they gave.
func callers(t *testing.T, db *pgtest.DB) (stop func() (calls int64, errs []error)) {
	t.Helper()
	url := db.Login(t, "daemon", "cloakroom_ingest")
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var (
		done  sync.WaitGroup
		calls atomic.Int64
		mu    sync.Mutex
		errs  []error
	)
	call := func(conn *sqlx.DB, query string) {
		calls.Add(1)
		// Not ctx: what is under way ends.
		if _, err := conn.Exec(query); err != nil {
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		}
	}
	for range 3 {
		conn, err := pg.Open(pg.Config{URL: url, MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			defer conn.Close()
			call(conn, `SELECT cloakroom.stage('login')`)
			for ctx.Err() == nil {
				call(conn, `SELECT * FROM cloakroom.vault()`)
				call(conn, `SELECT * FROM cloakroom.live_index_keys()`)
				call(conn, `SELECT * FROM cloakroom.load((SELECT epoch FROM cloakroom.vault()), clock_timestamp(), 'login', '{}', '{}')`)
			}
		})
	}
	return func() (int64, []error) {
		cancel()
		done.Wait()
		return calls.Load(), errs
	}
}

// Functions are replaced under their callers' feet, and no call fails. Dropped and made again, some did: "cache
// lookup failed for function".
func TestApplyUnderLoad(t *testing.T) {
	t.Parallel()
	lasting := 10 * time.Second
	if long.Asked() {
		lasting = time.Minute
	}
	db := vault(t)
	admin := db.Open(t, "")
	stop := callers(t, db)
	applied := 0
	for began := time.Now(); time.Since(began) < lasting; applied++ {
		admin.MustExec(`UPDATE cloakroom.api_versions SET sha256 = repeat('0', 64)`)
		if err := pg.Migrate(t.Context(), db.URL("")); err != nil {
			t.Fatal(err)
		}
	}
	calls, errs := stop()
	t.Logf("%d calls through %d applies", calls, applied)
	if len(errs) > 0 {
		t.Errorf("%d calls failed, the first: %v", len(errs), errs[0])
	}
	if applied < 5 || calls < 100 {
		t.Errorf("%d calls through %d applies prove nothing", calls, applied)
	}
}

// vault is a database on which keys init has run: callers need a dataset.
func vault(t *testing.T) *pgtest.DB {
	t.Helper()
	db := pgtest.New(t)
	set, err := kek.Open(t.Context(), keystest.WriteKEK(t, make([]byte, kek.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Init(t.Context(), db.URL(""), set); err != nil {
		t.Fatal(err)
	}
	return db
}

// older makes of a database what an older program left: no tables of the last file, an API of another checksum,
// with a function that is gone, one of another result and one under another argument's name, and a grant that is
// gone.
const older = `
	DROP TABLE cloakroom.evolution_steps;
	DROP TABLE cloakroom.evolutions CASCADE;
	DELETE FROM cloakroom.schema_migrations WHERE version_id = 6;
	CREATE FUNCTION cloakroom.gone(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';
	DROP FUNCTION cloakroom.log_size();
	CREATE FUNCTION cloakroom.log_size() RETURNS integer LANGUAGE sql AS 'SELECT 1';
	DROP FUNCTION cloakroom.log_nodes(bigint[]);
	CREATE FUNCTION cloakroom.log_nodes(p_numbers bigint[]) RETURNS TABLE (id bigint, hash bytea)
	  LANGUAGE sql AS 'SELECT 1::bigint, NULL::bytea';
	GRANT EXECUTE ON FUNCTION cloakroom.vault() TO PUBLIC, cloakroom_analyst;
	UPDATE cloakroom.api_versions SET sha256 = repeat('0', 64);
	INSERT INTO cloakroom.observed_days (day) SELECT date '2000-01-01' + n FROM generate_series(1, 1000) AS n;`

// An upgrade brings tables and functions to what api.txt says, keeps the rows, and daemons go on through it.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	db := vault(t)
	admin := db.Open(t, "")
	admin.MustExec(older)
	stored, program, err := pg.SchemaVersion(t.Context(), admin)
	if err != nil || !strings.Contains(stored.Difference(program), "older than this program's") {
		t.Errorf("%v is said to be %q (%v)", stored, stored.Difference(program), err)
	}
	stop := callers(t, db)
	time.Sleep(200 * time.Millisecond)
	if err := pg.Migrate(t.Context(), db.URL("")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if calls, errs := stop(); len(errs) > 0 || calls < 10 {
		t.Errorf("%d of %d calls failed: %v", len(errs), calls, errs)
	}
	if diff := cmp.Diff(strings.Split(read(t, apiFile), "\n"), strings.Split(withoutViews(describe(t, admin)), "\n")); diff != "" {
		t.Errorf("(-%s +database):\n%s", apiFile, diff)
	}
	var rows int
	if err := admin.Get(&rows, `SELECT count(*) FROM cloakroom.observed_days WHERE day < '2010-01-01'`); err != nil || rows != 1000 {
		t.Errorf("%d rows (%v)", rows, err)
	}
	if stored, program, err := pg.SchemaVersion(t.Context(), admin); err != nil || stored.Difference(program) != "" {
		t.Errorf("%v is not %v (%v)", stored, program, err)
	}
}

// Where something stored calls a function that must go, keys init names it, and changes nothing.
func TestUpgradeNamesWhatDepends(t *testing.T) {
	t.Parallel()
	db := vault(t)
	admin := db.Open(t, "")
	admin.MustExec(`CREATE FUNCTION cloakroom.gone() RETURNS integer LANGUAGE sql AS 'SELECT 1';
		CREATE VIEW public.of_theirs AS SELECT cloakroom.gone();
		GRANT EXECUTE ON FUNCTION cloakroom.vault() TO cloakroom_analyst;
		UPDATE cloakroom.api_versions SET sha256 = repeat('0', 64)`)
	err := pg.Migrate(t.Context(), db.URL(""))
	if err == nil || !strings.Contains(err.Error(), "cloakroom.gone()") || !strings.Contains(err.Error(), "of_theirs") {
		t.Errorf("%v, want the names of function and view", err)
	}
	var kept bool
	if err := admin.Get(&kept, `
		SELECT has_function_privilege('cloakroom_analyst', 'cloakroom.vault()', 'EXECUTE')`); err != nil || !kept {
		t.Errorf("the refused apply changed a grant (%v)", err)
	}
}

// A program does not put older functions back, unless it is told to; the audit log says so.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	db := vault(t)
	admin := db.Open(t, "")
	admin.MustExec(`INSERT INTO cloakroom.api_versions (number, sha256) VALUES (1000, repeat('0', 64))`)
	stored, program, err := pg.SchemaVersion(t.Context(), admin)
	if err != nil || !strings.Contains(stored.Difference(program), "newer than this program's") {
		t.Errorf("%v is said to be %q (%v)", stored, stored.Difference(program), err)
	}
	leaves := func() (n int) {
		t.Helper()
		if err := admin.Get(&n, `
			SELECT count(*) FROM cloakroom.audit_leaves
			 WHERE convert_from(leaf, 'UTF8')::json ->> 'type' = 'schema.downgrade'`); err != nil {
			t.Fatal(err)
		}
		return n
	}
	err = pg.Migrate(t.Context(), db.URL(""))
	if pg.Code(err) != pg.NotAllowedByVault || !strings.Contains(err.Error(), "--downgrade") || leaves() != 0 {
		t.Errorf("%v, want a refusal with a hint", err)
	}
	if err := pg.MigrateWith(t.Context(), db.URL(""), pg.MigrateOptions{Downgrade: true}); err != nil {
		t.Fatal(err)
	}
	if leaves() != 1 {
		t.Errorf("%d leaves say so, want 1", leaves())
	}
	if stored, program, err := pg.SchemaVersion(t.Context(), admin); err != nil || stored != program {
		t.Errorf("%v, want %v (%v)", stored, program, err)
	}
}

// withoutViews leaves out the views of datasets, which no file of the schema makes.
func withoutViews(description string) string {
	lines := strings.Split(description, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "analyst select view ") }), "\n")
}
