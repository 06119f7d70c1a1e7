package keys_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3/lock"

	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
)

func openKEK(t *testing.T) *kek.Set {
	t.Helper()
	set, err := kek.Open(t.Context(), keystest.WriteKEK(t, []byte("a KEK of the tests of keys, 32 b")))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// cluster is a server without cloakroom's roles. Roles are the cluster's: no other test may share
// it.
type cluster struct {
	*pgserver.Server
	admin *sqlx.DB
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	s := pgtest.Server(t, pgserver.Config{Settings: map[string]string{"fsync": "off"}})
	admin := sqlx.MustConnect("postgres", s.URL(s.SuperUser(), "postgres"))
	t.Cleanup(func() { admin.Close() })
	return &cluster{Server: s, admin: admin}
}

// state is all that a second init must leave as it is.
func state(t *testing.T, url string) string {
	t.Helper()
	db := sqlx.MustConnect("postgres", url)
	defer db.Close()
	var text string
	if err := db.Get(&text, `
		SELECT concat_ws(' ', (SELECT vault_id FROM cloakroom.settings), (SELECT epoch FROM cloakroom.settings),
		  (SELECT string_agg(version || ':' || encode(wrapped, 'hex'), ',') FROM cloakroom.index_keys),
		  (SELECT count(*) FROM cloakroom.partition_list()), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc))`); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestInitIsIdempotent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	set := openKEK(t)
	first, err := keys.Init(t.Context(), db.URL(""), set)
	if err != nil {
		t.Fatal(err)
	}
	before := state(t, db.URL(""))
	again, err := keys.Init(t.Context(), db.URL(""), set)
	if err != nil || again != first {
		t.Errorf("%+v, %v; want %+v", again, err, first)
	}
	if after := state(t, db.URL("")); after != before {
		t.Errorf("a second init changed\n%s to\n%s", before, after)
	}
	// Under another KEK it says so, instead of making a second index key.
	other, err := kek.Open(t.Context(), keystest.WriteKEK(t, []byte("another KEK of these tests, 32 b")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Init(t.Context(), db.URL(""), other); !errors.Is(err, kek.ErrNotConfigured) {
		t.Errorf("under another KEK: %v, want exit 6", err)
	}
	if after := state(t, db.URL("")); after != before {
		t.Errorf("an init under another KEK changed\n%s to\n%s", before, after)
	}
}

// Two inits of one database, and of two databases of a cluster that has no roles yet, all at once.
func TestInitAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	set := openKEK(t)
	const databases, inits = 3, 2
	var group sync.WaitGroup
	ids := make([][inits]keys.Settings, databases)
	for d := range databases {
		c.admin.MustExec(fmt.Sprintf(`CREATE DATABASE d%d`, d))
		for i := range inits {
			group.Go(func() {
				var err error
				if ids[d][i], err = keys.Init(t.Context(), c.URL(c.SuperUser(), fmt.Sprintf("d%d", d)),
					set); err != nil {
					t.Errorf("database %d, init %d: %v", d, i, err)
				}
			})
		}
	}
	group.Wait()
	for d := range databases {
		if ids[d][0] != ids[d][1] || d > 0 && ids[d][0].ID == ids[d-1][0].ID {
			t.Errorf("database %d: %+v", d, ids[d])
		}
		if text := state(t, c.URL(c.SuperUser(), fmt.Sprintf("d%d", d))); strings.Count(text, "1:") != 1 {
			t.Errorf("database %d: %s", d, text)
		}
	}
}

// Any login may hold any advisory lock, goose's too: keys init must not wait for one.
func TestInitWaitsForNoAdvisoryLock(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.admin.MustExec(`CREATE DATABASE d`)
	c.admin.MustExec(`CREATE ROLE anybody LOGIN`)
	db, err := pg.Open(pg.Config{URL: c.URL("anybody", "d")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	holder, err := db.Connx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if _, err := holder.ExecContext(t.Context(), `SELECT pg_advisory_lock($1)`, int64(lock.DefaultLockID)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := keys.Init(ctx, c.URL(c.SuperUser(), "d"), openKEK(t)); err != nil {
		t.Errorf("keys init under somebody's advisory lock: %v", err)
	}
}

// keys init needs CREATEROLE and the database's ownership, not superuser.
func TestInitWithoutSuperuser(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	set := openKEK(t)
	c.admin.MustExec(`CREATE ROLE migrator LOGIN CREATEROLE`)
	c.admin.MustExec(`CREATE DATABASE app OWNER migrator`)
	url := c.URL("migrator", "app")
	for range 2 {
		if _, err := keys.Init(t.Context(), url, set); err != nil {
			t.Fatal(err)
		}
	}
	c.admin.MustExec(`CREATE ROLE alice LOGIN`)
	if _, err := keys.Grant(t.Context(), url, "alice", "ingest", keys.GrantOptions{}); err != nil {
		t.Errorf("granting: %v", err)
	}
	v := &keys.Vault{DB: sqlx.MustConnect("postgres", c.URL("alice", "app")), KEK: set}
	defer v.DB.Close()
	if _, err := v.Settings(t.Context()); err != nil {
		t.Errorf("as ingest: %v", err)
	}
	if _, err := v.DB.Exec(`CREATE TEMPORARY TABLE t ()`); pg.Code(err) != "42501" {
		t.Errorf("ingest may make temporary tables: %v", err)
	}

	// Those who may not are told what is missing.
	c.admin.MustExec(`CREATE ROLE nobody LOGIN`)
	c.admin.MustExec(`CREATE DATABASE other OWNER nobody`)
	if _, err := keys.Init(t.Context(), c.URL("nobody", "other"), set); err == nil || !strings.Contains(err.Error(),
		"CREATEROLE") {
		t.Errorf("without CREATEROLE: %v, want a hint", err)
	}
	c.admin.MustExec(`CREATE DATABASE another`)
	if _, err := keys.Init(t.Context(), c.URL("migrator", "another"),
		set); err == nil || !strings.Contains(err.Error(), "must own the database") {
		t.Errorf("without owning the database: %v, want a hint", err)
	}
}

func TestInitRefusesForeignTables(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]string{
		"a table":        `CREATE TABLE public.user_logins (user_id text)`,
		"a view":         `CREATE VIEW public.user_logins AS SELECT 1 AS user_id`,
		"the other view": `CREATE TABLE public.user_logins_duplicates ()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			admin := db.Open(t, "")
			admin.MustExec(make)
			_, err := keys.Init(t.Context(), db.URL(""), openKEK(t))
			if err == nil || !strings.Contains(err.Error(), "RENAME TO") || !strings.Contains(err.Error(),
				"is not cloakroom's") {
				t.Errorf("%v, want a refusal with a hint", err)
			}
			var made bool
			if err := admin.Get(&made, `SELECT to_regnamespace('cloakroom') IS NOT NULL`); err != nil || made {
				t.Errorf("the refused init made a schema (%v)", err)
			}
		})
	}
}

// What keys init --print-sql prints runs by hand, on an empty database and again. keys init then
// adds the index key.
func TestPrintedSQL(t *testing.T) {
	t.Parallel()
	text, err := pg.SQL()
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]func(t *testing.T, db *pgtest.DB) error{
		"by lib/pq": func(t *testing.T, db *pgtest.DB) error {
			_, err := db.Open(t, "").Exec(text)
			return err
		},
		"by psql": func(t *testing.T, db *pgtest.DB) error {
			cmd := exec.Command(pgtest.Program(t, db.Server(), "psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", db.URL(""))
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	}
	for name, by := range run {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			for range 2 {
				if err := by(t, db); err != nil {
					t.Fatal(err)
				}
			}
			admin := db.Open(t, "")
			if stored, program, err := pg.SchemaVersion(t.Context(), admin); err != nil || stored != program {
				t.Errorf("the schema is %v, want %v (%v)", stored, program, err)
			}
			applied := func() (n int) {
				t.Helper()
				if err := admin.Get(&n, `SELECT count(*) FROM cloakroom.api_versions`); err != nil {
					t.Fatal(err)
				}
				return n
			}
			before := applied()
			if _, err := keys.Init(t.Context(), db.URL(""), openKEK(t)); err != nil {
				t.Errorf("keys init afterwards: %v", err)
			}
			if n := applied(); n != before {
				t.Error("keys init applied again what the script had applied")
			}
		})
	}
}
