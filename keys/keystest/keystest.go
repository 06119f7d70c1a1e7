// Package keystest gives a test a vault: a database of its own with cloakroom's schema, a KEK in a
// file, and the logins of every role.
package keystest

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// testKEK is the key of every test's key file. It is no secret.
var testKEK = []byte("cloakroom keystest: a KEK of 32b")

// Env is one test's vault.
type Env struct {
	*pgtest.DB
	KEK string // URI of its key file
}

// New clones a vault on which keys init has run. The test's package needs a TestMain with
// pgtest.Run.
func New(t testing.TB) *Env {
	t.Helper()
	uri := WriteKEK(t, testKEK)
	db := pgtest.Clone(t, "vault", func(ctx context.Context, url string) error {
		set, err := kek.Open(ctx, uri)
		if err != nil {
			return err
		}
		_, err = keys.Init(ctx, url, set)
		return err
	})
	// A copy of a database does not have its privileges: repeat what keys init did about them.
	db.Open(t, "").MustExec(`REVOKE CONNECT, TEMPORARY ON DATABASE ` + db.Name() + ` FROM PUBLIC;
		GRANT CREATE, TEMPORARY ON DATABASE ` + db.Name() + ` TO cloakroom_owner;
		GRANT CONNECT ON DATABASE ` + db.Name() + ` TO cloakroom_owner, cloakroom_ingest, cloakroom_analyst,
		  cloakroom_auditor, cloakroom_approver, cloakroom_rotator, cloakroom_breakglass, cloakroom_witness`)
	// And the key file is the same, in another place.
	db.Open(t, "").MustExec(`UPDATE cloakroom.keks SET kek = '` + uri + `'; UPDATE cloakroom.index_keys SET kek = '` + uri + `'`)
	return &Env{DB: db, KEK: uri}
}

// AddKEK lets the vault take keys under another KEK, as keys kek add does.
func (e *Env) AddKEK(t testing.TB, uri string) {
	t.Helper()
	set, err := kek.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	db, err := pg.Open(pg.Config{URL: e.URL(""), Role: pg.Owner})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	v := &keys.Vault{DB: db, KEK: set}
	s, err := v.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.AddKEK(t.Context(), s, uri); err != nil {
		t.Fatal(err)
	}
}

// WriteKEK writes a key file for the test and returns its URI.
func WriteKEK(t testing.TB, key []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + path
}

// As is the URL of a new login that holds roles, for instance "ingest".
func (e *Env) As(t testing.TB, login string, roles ...string) string {
	t.Helper()
	var groups []string
	for _, r := range roles {
		groups = append(groups, "cloakroom_"+r)
	}
	return e.Login(t, login, groups...)
}

// Vault opens the vault at a URL, as keys, etl and recover do.
func (e *Env) Vault(t testing.TB, url string) *keys.Vault {
	t.Helper()
	set, err := kek.Open(t.Context(), e.KEK)
	if err != nil {
		t.Fatal(err)
	}
	return &keys.Vault{DB: e.Pool(t, url), KEK: set}
}

// Pool opens connections as the programs do, and closes them when the test ends.
func (e *Env) Pool(t testing.TB, url string) *sqlx.DB {
	t.Helper()
	db, err := pg.Open(pg.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
