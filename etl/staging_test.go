package etl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys/keystest"
)

// session is one connection of a login that holds ingest.
func session(t *testing.T, env *keystest.Env) *sqlx.DB {
	t.Helper()
	env.As(t, "ingest", "ingest")
	db := env.Open(t, env.Role("ingest"))
	db.SetMaxOpenConns(1)
	return db
}

// Anyone who is granted TEMPORARY can plant something under the staging table's name; load() would
// read it as the owner.
func TestPlantedStaging(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]string{
		"a view": `CREATE TEMPORARY VIEW stage_login AS SELECT gen_random_uuid() AS message_id, current_date AS create_date,
			(SELECT string_agg(vault_id::text, '') FROM cloakroom.settings) AS user_id`,
		"a table of its own":   `CREATE TEMPORARY TABLE stage_login (message_id uuid, create_date date, data_key integer)`,
		"a partitioned table":  `CREATE TEMPORARY TABLE stage_login (message_id uuid, create_date date, data_key integer) PARTITION BY RANGE (create_date)`,
		"a materialised query": `CREATE TEMPORARY TABLE stage_login AS SELECT gen_random_uuid() AS message_id, current_date AS create_date, 1 AS data_key`,
		"nothing":              `SELECT 1`,
	} {
		for _, table := range []string{"stage_login", "stage_rejections_login"} {
			t.Run(name+" for "+table, func(t *testing.T) {
				t.Parallel()
				env := keystest.New(t)
				db := session(t, env)
				env.Open(t, "").MustExec(`GRANT TEMPORARY ON DATABASE ` + env.Name() + ` TO ` + pq.QuoteIdentifier(env.Role("ingest")))
				// The owner's table goes, and the planted one takes its name.
				env.Open(t, "").MustExec(`GRANT cloakroom_owner TO ` + pq.QuoteIdentifier(env.Role("ingest")))
				db.MustExec(`SET ROLE cloakroom_owner; SELECT cloakroom.stage('login'); DROP TABLE pg_temp.` + table + `; RESET ROLE`)
				env.Open(t, "").MustExec(`REVOKE cloakroom_owner FROM ` + pq.QuoteIdentifier(env.Role("ingest")))
				if _, err := db.Exec(strings.Replace(plant, "stage_login", table, 1)); err != nil {
					t.Fatal(err)
				}
				_, err := db.Exec(`SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'login', '{}', '{}')`)
				if pg.Code(err) != pg.UntrustedStaging {
					t.Errorf("load with %s: %v, want %s", name, err, pg.UntrustedStaging)
				}
				if name != "nothing" {
					if _, err := db.Exec(`SELECT cloakroom.stage('login')`); err == nil {
						t.Error("stage() took over what was planted")
					}
				}
			})
		}
	}
}

// The owner's own staging table, tampered with by a superuser, is refused too: rules and triggers
// run as the owner.
func TestTamperedStaging(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a trigger":          `CREATE TRIGGER t BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
		"a rule":             `CREATE RULE r AS ON INSERT TO %s DO ALSO NOTHING`,
		"row-level security": `ALTER TABLE %s ENABLE ROW LEVEL SECURITY`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			db := env.Open(t, "")
			db.SetMaxOpenConns(1)
			db.MustExec(`SELECT cloakroom.stage('login')`)
			db.MustExec(fmt.Sprintf(tamper, "pg_temp.stage_login"))
			_, err := db.Exec(`SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'login', '{}', '{}')`)
			if pg.Code(err) != pg.UntrustedStaging {
				t.Errorf("load with %s: %v, want %s", name, err, pg.UntrustedStaging)
			}
		})
	}
}

// What ingest may do with a staging table is put rows in, and nothing else.
func TestStagingIsInsertOnly(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	db := session(t, env)
	db.MustExec(`SELECT cloakroom.stage('login')`)
	for _, statement := range []string{
		`SELECT * FROM pg_temp.stage_login`, `UPDATE pg_temp.stage_login SET user_id = ''`, `DELETE FROM pg_temp.stage_login`,
		`TRUNCATE pg_temp.stage_login`, `ALTER TABLE pg_temp.stage_login ADD COLUMN c text`, `DROP TABLE pg_temp.stage_login`,
		`CREATE TRIGGER t BEFORE INSERT ON pg_temp.stage_login EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
		`CREATE RULE r AS ON INSERT TO pg_temp.stage_login DO ALSO NOTHING`,
		`CREATE TEMPORARY TABLE t ()`, `CREATE TEMPORARY VIEW v AS SELECT 1`,
		`SELECT cloakroom.require_staging('stage_login')`, `SELECT cloakroom.make_partition('login', current_date)`,
		`INSERT INTO cloakroom_data.user_logins DEFAULT VALUES`, `INSERT INTO cloakroom.rejections DEFAULT VALUES`, `SELECT * FROM public.user_logins`,
		`SELECT * FROM cloakroom.settings`, `DO 'BEGIN LOCK TABLE cloakroom.fence IN ACCESS SHARE MODE; END'`,
		`DO 'BEGIN LOCK TABLE cloakroom_data.user_logins IN ROW EXCLUSIVE MODE; END'`,
	} {
		if _, err := db.Exec(statement); pg.Code(err) != "42501" {
			t.Errorf("%s: %v, want a refusal (42501)", statement, err)
		}
	}
	if _, err := db.Exec(`SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'login', '{}', '{}')`); err != nil {
		t.Errorf("load of nothing: %v", err)
	}
}

// Behind a pooler in transaction mode the staging tables are made in the transaction and go with it.
func TestTransientStaging(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	db := session(t, env)
	for range 2 {
		tx := db.MustBegin()
		tx.MustExec(`SELECT cloakroom.stage('login', true)`)
		tx.MustExec(`SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'login', '{}', '{}')`)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		var left bool
		if err := db.Get(&left, `SELECT to_regclass('pg_temp.stage_login') IS NOT NULL`); err != nil || left {
			t.Errorf("the staging table is left behind (%v)", err)
		}
	}
}
