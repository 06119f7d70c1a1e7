package etl_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// raiseEpoch is what a rotation step does before it changes what may be written.
func raiseEpoch(t *testing.T, db *sqlx.DB) {
	t.Helper()
	tx := db.MustBegin()
	defer tx.Rollback()
	tx.MustExec(`LOCK TABLE cloakroom.fence IN SHARE ROW EXCLUSIVE MODE`)
	tx.MustExec(`UPDATE cloakroom.settings SET epoch = epoch + 1`)
	tx.MustExec(`UPDATE cloakroom.data_keys SET state = 'closed', closed_at = now() WHERE state = 'active'`)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// stored checks that every login among the messages is a row, that each row opens to it, and that
// nothing else is there.
func stored(t *testing.T, env *keystest.Env, messages []*etl.Message) map[uint32]int {
	t.Helper()
	rows := etltest.NewOpener(t, env).Rows(t)
	byKey := map[uint32]int{}
	for _, m := range messages {
		r, ok := rows[m.ID]
		if !ok || !bytes.Contains(m.Body, []byte(`"device_id":"`+r.DeviceID+`"`)) || !bytes.Contains(m.Body, []byte(`"ip":"`+r.IP+`"`)) {
			t.Fatalf("%s is stored as %+v (%v)", m.Body, r, ok)
		}
		byKey[r.DataKey]++
	}
	if len(rows) != len(messages) {
		t.Fatalf("%d rows, want %d", len(rows), len(messages))
	}
	return byKey
}

// The epoch is raised again and again while a run is under way: its batches are protected again,
// and nothing is lost.
func TestStaleEpoch(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	admin := env.Open(t, "")
	messages := etltest.Logins(0, 2000)
	source := etltest.NewSource(etltest.Parts(messages, 100)...)
	source.Before = func(n int) {
		if n%4 == 3 {
			raiseEpoch(t, admin)
		}
	}
	var log bytes.Buffer
	s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), source, etl.Options{
		BatchRows: 50, Loaders: 3, Protectors: 2, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if s.Stored != 2000 {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(log.String(), "protecting a batch again") {
		t.Error("no batch met the raised epoch: this test proves nothing")
	}
	if byKey := stored(t, env, messages); len(byKey) < 2 {
		t.Errorf("all rows are sealed under %v, though the keys were closed", byKey)
	}
}

// A raised epoch does not wait for long, and neither is it overtaken: writers that hold the fence
// finish first.
func TestFenceStopsWriters(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	rotation := env.Open(t, "").MustBegin()
	defer rotation.Rollback()
	rotation.MustExec(`LOCK TABLE cloakroom.fence IN SHARE ROW EXCLUSIVE MODE`)

	w := etltest.NewWriter(t, env, "ingest")
	done := make(chan etl.Summary)
	go func() { done <- etltest.Run(t, w, etltest.NewSource(etltest.Logins(0, 10)), etl.Options{}) }()
	admin := env.Open(t, "")
	eventually(t, func() bool {
		var waits bool
		if err := admin.Get(&waits, `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'cloakroom.fence'::regclass AND NOT granted)`); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	// The load waits at the fence. It must see the epoch that is raised now, though it began before.
	rotation.MustExec(`UPDATE cloakroom.settings SET epoch = epoch + 1`)
	rotation.MustExec(`UPDATE cloakroom.data_keys SET state = 'closed'`)
	if err := rotation.Commit(); err != nil {
		t.Fatal(err)
	}
	if s := <-done; s.Stored != 10 {
		t.Errorf("%+v", s)
	}
	for id := range stored(t, env, etltest.Logins(0, 10)) {
		var state string
		if err := admin.Get(&state, `SELECT state FROM cloakroom.data_keys WHERE id = $1`, id); err != nil || state != "active" {
			t.Errorf("data key %d is %s (%v): a row was written under a key that the raised epoch closed", id, state, err)
		}
	}
}

// After a restore the database may not know the data key in hand, or know another by its id.
func TestUnknownDataKey(t *testing.T) {
	t.Parallel()
	for name, restore := range map[string]func(*testing.T, *keystest.Env, *sqlx.DB){
		"gone": func(t *testing.T, env *keystest.Env, db *sqlx.DB) {
			db.MustExec(`DELETE FROM cloakroom_data.user_logins`)
			db.MustExec(`DELETE FROM cloakroom.data_keys`)
		},
		"another key has its id": func(t *testing.T, env *keystest.Env, db *sqlx.DB) {
			db.MustExec(`DELETE FROM cloakroom_data.user_logins`)
			db.MustExec(`DELETE FROM cloakroom.data_keys`)
			db.MustExec(`SELECT setval('cloakroom.data_key_ids', 1, false)`)
			s := etltest.Run(t, etltest.NewWriter(t, env, "other"), etltest.NewSource(etltest.Logins(0, 5)), etl.Options{})
			if s.Stored != 5 {
				t.Fatalf("%+v", s)
			}
			db.MustExec(`DELETE FROM cloakroom_data.user_logins`)
		},
		"closed": func(t *testing.T, env *keystest.Env, db *sqlx.DB) {
			db.MustExec(`DELETE FROM cloakroom_data.user_logins`)
			db.MustExec(`UPDATE cloakroom.data_keys SET state = 'closed'`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			messages := etltest.Logins(0, 40)
			source := etltest.NewSource(etltest.Parts(messages, 20)...)
			w := etltest.NewWriter(t, env, "ingest")
			if s := etltest.Run(t, w, etltest.NewSource(etltest.Logins(1000, 1010)), etl.Options{}); s.Stored != 10 {
				t.Fatalf("%+v", s)
			}
			restore(t, env, env.Open(t, ""))
			if s := etltest.Run(t, w, source, etl.Options{}); s.Stored != 40 {
				t.Errorf("%+v", s)
			}
			if byKey := stored(t, env, messages); byKey[1] != 0 {
				t.Errorf("rows are under data key 1, which this writer's is not: %v", byKey)
			}
		})
	}
}

// The pipeline works where the server's, the database's or the login's default isolation is
// another; the functions themselves refuse it.
func TestIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			url := env.As(t, "ingest", "ingest")
			admin := env.Open(t, "")
			admin.MustExec(`ALTER ROLE ` + pq.QuoteIdentifier(env.Role("ingest")) + ` SET default_transaction_isolation = '` + level + `'`)
			admin.MustExec(`ALTER DATABASE ` + env.Name() + ` SET default_transaction_isolation = '` + level + `'`)
			w := etltest.WriterAt(t, env, url, keys.Caps{})
			if s := etltest.Run(t, w, etltest.NewSource(etltest.Logins(0, 10)), etl.Options{}); s.Stored != 10 {
				t.Errorf("%+v", s)
			}
			db := env.Open(t, env.Role("ingest"))
			db.SetMaxOpenConns(1)
			db.MustExec(`SELECT cloakroom.stage('login')`)
			_, err := db.Exec(`SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'login', '{}', '{}')`)
			if pg.Code(err) != pg.WrongIsolation {
				t.Errorf("load at %s: %v, want %s", level, err, pg.WrongIsolation)
			}
			db.MustExec(`SET default_transaction_isolation = 'read committed'`)
			if _, err := db.Exec(`SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'login', '{}', '{}')`); err != nil {
				t.Errorf("load at read committed: %v", err)
			}
		})
	}
}

// A vault that calls every epoch stale is out of order. Writers back off instead of making data key
// after data key.
func TestAlwaysStale(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	admin := env.Open(t, "")
	admin.MustExec(`CREATE OR REPLACE FUNCTION cloakroom.vault() RETURNS TABLE (vault_id uuid, epoch bigint, days_back integer, days_ahead integer)
		LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
		AS 'SELECT vault_id, epoch + 1, days_back, days_ahead FROM cloakroom.settings'`)
	w := etltest.NewWriter(t, env, "ingest")
	began := time.Now()
	s, err := etl.Run(t.Context(), w, etltest.NewSource(etltest.Logins(0, 10)), etl.Options{
		MaxOutage: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	if !errors.Is(err, etl.ErrGaveUp) || pg.Code(err) != pg.StaleEpoch || s.Abandoned != 10 {
		t.Errorf("after %v: %+v, %v", time.Since(began), s, err)
	}
	var made int
	if err := admin.Get(&made, `SELECT count(*) FROM cloakroom.data_keys`); err != nil || made > 10 {
		t.Errorf("%d data keys were made (%v)", made, err)
	}
}
