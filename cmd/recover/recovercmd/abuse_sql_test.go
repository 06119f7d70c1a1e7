package recovercmd

import (
	"errors"
	"strings"
	"testing"

	"github.com/lib/pq"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	recovery "cloakroom/recover"
)

func abuseDirectSQL(t *testing.T) {
	c := newFixture(t)
	c.orders(t)
	id := c.approved(t, params(func(a *recovery.RequestParams) { a.Dataset = "login" }))
	tables := []string{
		"public.orders", "cloakroom.datasets", "cloakroom.dataset_columns", "cloakroom.rejections", "cloakroom.data_keys", "cloakroom.index_keys", "cloakroom.settings", "cloakroom.requests",
		"cloakroom.approvals", "cloakroom.quotas", "cloakroom.audit_leaves", "cloakroom.audit_nodes", "cloakroom.checkpoints", "cloakroom.fence",
		"public.user_logins", "public.user_logins_duplicates",
	}
	// The row tables of every dataset, and each of their partitions.
	var rowTables []string
	if err := c.admin.Select(&rowTables, `SELECT oid::regclass::text FROM pg_class
		WHERE relnamespace = 'cloakroom_data'::regnamespace AND relkind IN ('r', 'p')`); err != nil || len(rowTables) < 10 {
		t.Fatalf("%d row tables and partitions (%v)", len(rowTables), err)
	}
	tables = append(tables, rowTables...)
	statements := []string{
		`SELECT cloakroom.stage('order')`, `SELECT cloakroom.scan_rows('order', current_date, now(), '` + id.String() + `', '{}', 10)`,
		`SET ROLE cloakroom_owner`, `SET ROLE postgres`, `SET SESSION AUTHORIZATION postgres`, `SET ROLE cloakroom_analyst`,
		`CREATE SCHEMA mine`, `CREATE TABLE cloakroom.mine ()`, `CREATE TEMPORARY TABLE mine ()`,
		`SELECT cloakroom.append_leaf('opened')`, `SELECT cloakroom.append_node_hashes(0, 'x')`, `SELECT cloakroom.spend_quota(-1000)`,
		`SELECT cloakroom.lock_request('` + id.String() + `')`, `SELECT cloakroom.next_leaf()`, `SELECT cloakroom.expire_token_requests()`,
		`SELECT cloakroom.approve('` + id.String() + `', '')`, `SELECT cloakroom.wrapped_data_key(1)`, `SELECT cloakroom.scan_rejections('` + id.String() + `', now(), 10)`,
		`SELECT cloakroom.stage('login')`, `SELECT cloakroom.record_checkpoint(1, 'x', 'x')`, `GRANT cloakroom_approver TO CURRENT_USER`,
		`ALTER ROLE CURRENT_USER SUPERUSER`, `ALTER FUNCTION cloakroom.hand_out(uuid, refcursor) OWNER TO CURRENT_USER`,
		`COPY (SELECT 1) TO PROGRAM 'true'`, `SELECT pg_read_file('/etc/passwd')`, `DO $$ BEGIN DELETE FROM cloakroom.audit_leaves; END $$`,
	}
	for _, table := range tables {
		statements = append(statements, `SELECT FROM `+table, `DO $$ BEGIN LOCK TABLE `+table+` IN ACCESS SHARE MODE; END $$`)
		if table != "public.user_logins_duplicates" { // a view that nobody can delete from
			statements = append(statements, `DELETE FROM `+table)
		}
		if strings.HasPrefix(table, "cloakroom") {
			statements = append(statements, `TRUNCATE `+table)
		}
	}
	for login, url := range map[string]string{
		"auditor": c.aliceURL, "approver": c.bobURL, "breakglass": c.As(t, "eve", "breakglass"), "witness": c.As(t, "wit", "witness"), "nobody": c.As(t, "nobody"),
	} {
		db := c.Pool(t, url)
		for _, statement := range statements {
			if login == "approver" && statement == `SELECT cloakroom.approve('`+id.String()+`', '')` {
				continue // may execute it; the digest is refused elsewhere
			}
			_, err := db.Exec(statement)
			switch pg.Code(err) {
			case "42501": // insufficient privilege
			case pg.RequestRefused: // record_checkpoint is the witness's to call, not with this root
				if login != "witness" {
					t.Errorf("%s: %s: %v", login, statement, err)
				}
			default:
				t.Errorf("%s: %s: %v", login, statement, err)
			}
		}
	}
	if n := c.intents(t, id); n != 0 {
		t.Error("an intent")
	}
}

func abuseSearchPath(t *testing.T) {
	c := newFixture(t)
	// A schema of her own, which a careless administrator gave her, full of things that shadow ours
	// and Postgres's.
	alice := c.Role("alice")
	c.admin.MustExec(`CREATE SCHEMA evil AUTHORIZATION ` + pq.QuoteIdentifier(alice))
	db := c.Pool(t, c.aliceURL)
	db.SetMaxOpenConns(1)
	db.MustExec(`SET search_path = evil, pg_catalog, cloakroom`)
	db.MustExec(`CREATE TABLE evil.settings AS SELECT 0 AS approvals, 1000000 AS row_limit`)
	db.MustExec(`CREATE TABLE evil.requests (id uuid, state text)`)
	for _, function := range []string{
		`evil.pg_has_role(name, name, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`,
		`evil.pg_xact_status(xid8) RETURNS text LANGUAGE sql AS $$ SELECT 'committed'::text $$`,
		`evil.pg_current_wal_flush_lsn() RETURNS pg_lsn LANGUAGE sql AS $$ SELECT 'FFFFFFFF/FFFFFFFF'::pg_lsn $$`,
		`evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '2000-01-01'::timestamptz $$`,
		`evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT '\x00'::bytea $$`,
		`evil.num_nonnulls(VARIADIC "any") RETURNS integer LANGUAGE internal AS 'pg_num_nonnulls'`,
		`evil.nothing(bytea, bytea) RETURNS boolean LANGUAGE sql AS 'SELECT false'`,
	} {
		if _, err := db.Exec(`CREATE FUNCTION ` + function); err != nil && pg.Code(err) != "42501" {
			t.Fatalf("%s: %v", function, err)
		}
	}
	db.MustExec(`CREATE OPERATOR evil.<> (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.nothing)`)

	id := c.request(t, params(nil))
	for _, step := range []string{begin, confirm, handOut} {
		n, err := do(db, step, id)
		wantCode(t, err, pg.NotApproved)
		if n != 0 {
			t.Errorf("%s: %d", step, n)
		}
	}
	id = c.approved(t, params(nil))
	c.admin.MustExec(`UPDATE cloakroom.requests SET row_limit = 99 WHERE id = $1`, id)
	_, err := do(db, begin, id)
	wantCode(t, err, pg.NotApproved)
}

func abuseInjection(t *testing.T) {
	c := newFixture(t)
	before := c.count(t, `SELECT count(*) FROM cloakroom_data.user_logins`)
	for _, evil := range []string{
		`' OR 'a'='a`, `'; DROP TABLE cloakroom_data.user_logins; --`, `\' OR 1=1 --`, `%L`, `%I`, `$1`, `$q$ OR true OR $q$`, `user-1' --`, `"; --`,
		"user-1\x00", `E'\x27'`, `‘ OR ’1’=’1`, `) OR (true`, `true`, `*`,
	} {
		for name, change := range map[string]func(*recovery.RequestParams){
			"dataset": func(a *recovery.RequestParams) { a.Dataset = evil },
			"index": func(a *recovery.RequestParams) {
				a.Subject, a.Field, a.Index, a.Tokens = "", "ip", evil, []string{"AAAAAAAAAAAAAAAAAAAAAA"}
			},
			"user":  func(a *recovery.RequestParams) { a.Subject = evil },
			"token": func(a *recovery.RequestParams) { a.Subject, a.Tokens = "", []string{evil} },
			"field": func(a *recovery.RequestParams) {
				a.Subject, a.Field, a.Tokens = "", evil, []string{"AAAAAAAAAAAAAAAAAAAAAA"}
			},
			"rejection": func(a *recovery.RequestParams) { a.Subject, a.Rejection, a.Fields = "", evil, []string{"body"} },
			"fields":    func(a *recovery.RequestParams) { a.Subject, a.Fields = "nobody", []string{evil} },
			"purpose":   func(a *recovery.RequestParams) { a.Subject, a.Purpose = "nobody", evil },
			"ticket":    func(a *recovery.RequestParams) { a.Subject, a.Ticket = "nobody", evil },
			"reason":    func(a *recovery.RequestParams) { a.Subject, a.Reason = "nobody", evil },
		} {
			id, err := c.alice.Request(t.Context(), params(change))
			if err != nil {
				var shown *pg.Error
				if !errors.As(err, &shown) && !errors.Is(err, keys.ErrNoDataset) || cli.ExitCode(err) != cli.ExitOther {
					t.Errorf("%s %q: %v", name, evil, err)
				}
				continue
			}
			shown, err := c.bob.Show(t.Context(), id)
			if err != nil {
				t.Fatalf("%s %q: %v", name, evil, err)
			}
			if *shown.Selected != 0 {
				t.Errorf("%s %q selects %d rows", name, evil, *shown.Selected)
			}
			if _, err := c.bob.Approve(t.Context(), shown); err != nil {
				t.Fatalf("%s %q: %v", name, evil, err)
			}
			opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
			if err != nil {
				t.Fatalf("%s %q: %v", name, evil, err)
			}
			if opened.Rows != 0 {
				t.Errorf("%s %q opens %d rows", name, evil, opened.Rows)
			}
			opened.Close()
		}
	}
	if after := c.count(t, `SELECT count(*) FROM cloakroom_data.user_logins`); after != before {
		t.Errorf("%d rows, before %d", after, before)
	}
}
