package recovercmd

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	recovery "cloakroom/recover"
)

// tampered does something to the rows of an approved request, and wants the opening to fail whole.
func tampered(t *testing.T, cases map[string]string) {
	t.Helper()
	for name, statement := range cases {
		t.Run(name, func(t *testing.T) {
			c := newFixture(t)
			ingest(t, c.Env, event(`{"user_id":"user-1","ip":"nonsense","device_id":"d"}`))
			id := c.approved(t, params(func(a *recovery.RequestParams) { a.Fields = append(a.Fields, "body") }))
			statement := strings.NewReplacer("FIRST", "'"+c.first.ID.String()+"'", "SECOND", "'"+c.second.ID.String()+"'").Replace(statement)
			if n, err := c.admin.MustExec(statement).RowsAffected(); n == 0 || err != nil {
				t.Fatalf("%s: %d rows, %v", statement, n, err)
			}
			p := c.start(t, c.aliceURL, "open", id.String(), "--allow-pipe")
			if code := p.wait(); code != cli.ExitIntegrity || p.stdout.Len() > 0 {
				t.Errorf("exit code %d, want %d; printed %d bytes: %s", code, cli.ExitIntegrity, p.stdout.Len(), &p.stderr)
			}
			if out := p.stderr.String(); strings.Contains(out, canaryIP) || strings.Contains(out, canaryDevice) {
				t.Errorf("the error shows a value: %s", out)
			}
			if types := c.leaves(t); types[len(types)-1] != "failed" {
				t.Errorf("leaves are %v: the failure is not the last", types)
			}
		})
	}
}

func abuseSwapped(t *testing.T) {
	tampered(t, map[string]string{
		"row": `UPDATE cloakroom_data.user_logins a SET sealed_ip = b.sealed_ip, masked_ip_v1 = b.masked_ip_v1
			FROM cloakroom_data.user_logins b WHERE a.row_id = FIRST AND b.row_id = SECOND`,
		"column":            `UPDATE cloakroom_data.user_logins SET sealed_ip = sealed_device_id, masked_ip_v1 = masked_device_id_v1 WHERE row_id = FIRST`,
		"columns exchanged": `UPDATE cloakroom_data.user_logins SET sealed_ip = sealed_device_id, sealed_device_id = sealed_ip WHERE row_id = FIRST`,
		"table": `UPDATE cloakroom.rejections j SET sealed_body = u.sealed_device_id, data_key = u.data_key
			FROM cloakroom_data.user_logins u WHERE u.row_id = FIRST`,
		"table back": `UPDATE cloakroom_data.user_logins u SET sealed_device_id = j.sealed_body, sealed_ip = j.sealed_body, data_key = j.data_key
			FROM cloakroom.rejections j WHERE u.row_id = FIRST`,
		"a bit": `UPDATE cloakroom_data.user_logins SET sealed_ip = set_byte(sealed_ip, 20, get_byte(sealed_ip, 20) # 1) WHERE row_id = FIRST`,
	})
}

func abuseToken(t *testing.T) {
	tampered(t, map[string]string{
		"another value's": `UPDATE cloakroom_data.user_logins a SET masked_ip_v1 = b.masked_ip_v1
			FROM cloakroom_data.user_logins b WHERE a.row_id = FIRST AND b.row_id = SECOND`,
		"another field's": `UPDATE cloakroom_data.user_logins SET masked_ip_v1 = masked_device_id_v1 WHERE row_id = FIRST`,
		"no one's":        `UPDATE cloakroom_data.user_logins SET masked_device_id_v1 = 'AAAAAAAAAAAAAAAAAAAAAA' WHERE row_id = FIRST`,
		"taken away": `ALTER TABLE cloakroom_data.user_logins DROP CONSTRAINT masked_device_id_v1;
			UPDATE cloakroom_data.user_logins SET masked_device_id_v1 = NULL WHERE row_id = FIRST`,
	})
}

func abuseMoved(t *testing.T) {
	otherDay := `CASE WHEN extract(day FROM create_date) = 1 THEN 1 ELSE -1 END`
	tampered(t, map[string]string{
		"to user-1":           `UPDATE cloakroom_data.user_logins SET user_id = 'user-1' WHERE user_id = 'user-2'`,
		"another day":         `UPDATE cloakroom_data.user_logins SET create_date = create_date + ` + otherDay + `, sent = sent + ` + otherDay + ` * interval '1 day' WHERE row_id = FIRST`,
		"another message id":  `UPDATE cloakroom_data.user_logins SET row_id = gen_random_uuid() WHERE row_id = FIRST`,
		"rejection's message": `UPDATE cloakroom.rejections SET message_id = gen_random_uuid()`,
	})
}

func (c *fixture) ingestLogin(t *testing.T) *sqlx.DB {
	t.Helper()
	db := c.Pool(t, c.As(t, "loader", "ingest"))
	db.SetMaxOpenConns(1)
	return db
}

const load = `SELECT * FROM cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'login', '{}', '{}')`

func abusePlantedView(t *testing.T) {
	c := newFixture(t)
	db := c.ingestLogin(t)
	view := `CREATE TEMPORARY VIEW stage_login AS SELECT * FROM cloakroom.data_keys`
	_, err := db.Exec(view)
	wantCode(t, err, "42501")
	// Even where a careless administrator lets ingest make temporary objects.
	c.admin.MustExec(`GRANT TEMPORARY ON DATABASE ` + c.Name() + ` TO cloakroom_ingest`)
	db = c.Pool(t, c.As(t, "loader2", "ingest"))
	db.SetMaxOpenConns(1)
	db.MustExec(`CREATE TEMPORARY VIEW stage_login AS SELECT 1 AS row_id`)
	db.MustExec(`CREATE TEMPORARY TABLE stage_rejections_login ()`)
	_, err = db.Exec(load)
	wantCode(t, err, pg.UntrustedStaging)
	// Nor does what another dataset's staging() made serve.
	c.orders(t)
	db.MustExec(`SELECT cloakroom.stage('order')`)
	_, err = db.Exec(load)
	wantCode(t, err, pg.UntrustedStaging)
}

func abuseRowSecurity(t *testing.T) {
	c := newFixture(t)
	db := c.ingestLogin(t)
	db.MustExec(`SELECT cloakroom.stage('login')`)
	_, err := db.Exec(`ALTER TABLE pg_temp.stage_login ENABLE ROW LEVEL SECURITY`)
	wantCode(t, err, "42501")
	_, err = db.Exec(`CREATE POLICY leak ON pg_temp.stage_login USING (cloakroom.append_leaf('opened') > 0)`)
	wantCode(t, err, "42501")
	_, err = db.Exec(`CREATE RULE leak AS ON INSERT TO pg_temp.stage_login DO ALSO SELECT 1`)
	wantCode(t, err, "42501")
	// Somebody with the owner's rights did it: the load does not run such a table's policies as the
	// owner.
	conn, err := c.admin.Connx(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range []string{
		`SET ROLE cloakroom_owner`, `SELECT cloakroom.stage('login')`, `ALTER TABLE pg_temp.stage_login ENABLE ROW LEVEL SECURITY`,
	} {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	_, err = conn.ExecContext(context.Background(), load)
	wantCode(t, err, pg.UntrustedStaging)
}

func abuseRepeatableRead(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	db := c.ingestLogin(t)
	db.MustExec(`SELECT cloakroom.stage('login')`)
	for _, level := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		tx := db.MustBegin()
		tx.MustExec(`SET TRANSACTION ISOLATION LEVEL ` + level)
		_, err := tx.Exec(load)
		wantCode(t, err, pg.WrongIsolation)
		_ = tx.Rollback()
		for _, step := range []string{begin, confirm, handOut} {
			tx := c.alice.Vault.DB.MustBegin()
			tx.MustExec(`SET TRANSACTION ISOLATION LEVEL ` + level)
			_, err := do(tx, step, id)
			wantCode(t, err, pg.WrongIsolation)
			_ = tx.Rollback()
		}
	}
}

func abuseAdvisoryLock(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	analyst := c.Pool(t, c.As(t, "analyst", "analyst"))
	analyst.SetMaxOpenConns(1)
	analyst.MustExec(`SELECT pg_advisory_lock(n) FROM generate_series(-100, 100) AS n`)
	analyst.MustExec(`SELECT pg_advisory_lock(c.oid::bigint) FROM pg_class c`)
	_, err := analyst.Exec(`DO $$ BEGIN LOCK TABLE cloakroom.fence IN ACCESS SHARE MODE; END $$`)
	wantCode(t, err, "42501")
	ingest(t, c.Env, login("user-1", "192.0.2.9", "device-9"))
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.Rows != 3 {
		t.Error(fmt.Sprint(opened.Rows, " rows opened, want 3"))
	}
}
