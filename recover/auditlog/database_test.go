package auditlog

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"golang.org/x/mod/sumdb/tlog"

	"cloakroom/keys/keystest"
)

// memory keeps the hashes that tlog computes.
type memory []tlog.Hash

func (m memory) ReadHashes(ids []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, id := range ids {
		out = append(out, m[id])
	}
	return out, nil
}

// The database's function writes the very hashes, under the very ids, that tlog does.
func TestDatabaseKeepsTlogsHashes(t *testing.T) {
	db := keystest.New(t).Open(t, "")
	db.MustExec(`SELECT cloakroom.append_leaf('key.test', p_rows => n) FROM generate_series(1, 70) AS n`)

	var leaves [][]byte
	if err := db.Select(&leaves, `SELECT leaf FROM cloakroom.audit_leaves ORDER BY seq`); err != nil {
		t.Fatal(err)
	}
	var want memory
	for n, leaf := range leaves {
		hashes, err := tlog.StoredHashes(int64(n), leaf, want)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, hashes...)
	}
	var stored []struct {
		ID   int64  `db:"id"`
		Hash []byte `db:"hash"`
	}
	if err := db.Select(&stored, `SELECT id, hash FROM cloakroom.audit_nodes ORDER BY id`); err != nil {
		t.Fatal(err)
	}
	var got memory
	for i, s := range stored {
		if s.ID != int64(i) {
			t.Fatalf("hash %d is stored under id %d", i, s.ID)
		}
		got = append(got, tlog.Hash(s.Hash))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored hashes (-want +got):\n%s", diff)
	}
}

// emptied is a vault's database whose log has no leaf: the first came with the vault.
func emptied(t *testing.T, env *keystest.Env) *sqlx.DB {
	t.Helper()
	db := env.Open(t, "")
	for _, table := range []string{"cloakroom.audit_leaves", "cloakroom.audit_nodes"} {
		db.MustExec(`ALTER TABLE ` + table + ` DISABLE TRIGGER USER; DELETE FROM ` + table + `;
			ALTER TABLE ` + table + ` ENABLE TRIGGER USER`)
	}
	return db
}

func TestLeafIsCanonical(t *testing.T) {
	db := emptied(t, keystest.New(t))
	db.MustExec(`SELECT cloakroom.append_leaf('key.test')`)
	db.MustExec(`SELECT cloakroom.append_leaf('intent', '00000000-0000-0000-0000-000000000001', 'o"s', 'fraud', E'T-1\n\u001b',
		'\x01', '\x02', ARRAY['ip'], '\x03', 7, ARRAY[1, 2], 'ok', 'recover', 'd')`)
	var leaves []string
	if err := db.Select(&leaves, `SELECT convert_from(leaf, 'UTF8') FROM cloakroom.audit_leaves ORDER BY seq`); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		`{"v":1,"seq":0,"ts":TIME,"type":"key.test","request":null,"actor":ACTOR,"source_identity":null,"purpose":null,"ticket":null,"reason_commit":null,"query_commit":null,"dataset":null,"fields":null,"row_set_hash":null,"rows":null,"data_keys":null,"result":null,"tool":null}`,
		`{"v":1,"seq":1,"ts":TIME,"type":"intent","request":"00000000-0000-0000-0000-000000000001","actor":ACTOR,"source_identity":"o\"s","purpose":"fraud","ticket":"T-1\n\u001b","reason_commit":"01","query_commit":"02","dataset":"d","fields":["ip"],"row_set_hash":"03","rows":7,"data_keys":[1,2],"result":"ok","tool":"recover"}`,
	} {
		var leaf struct{ TS, Actor json.RawMessage }
		if err := json.Unmarshal([]byte(leaves[i]), &leaf); err != nil {
			t.Fatal(err)
		}
		if len(leaf.TS) != len(`"2026-01-02T03:04:05.000006Z"`) {
			t.Errorf("time is %s", leaf.TS)
		}
		want = strings.NewReplacer("TIME", string(leaf.TS), "ACTOR", string(leaf.Actor)).Replace(want)
		if leaves[i] != want {
			t.Errorf("leaf %d is\n%s\nwant\n%s", i, leaves[i], want)
		}
	}
}

func TestLogIsAppendOnly(t *testing.T) {
	db := keystest.New(t).Open(t, "")
	db.MustExec(`SELECT cloakroom.append_leaf('key.test')`)
	for _, statement := range []string{
		`UPDATE cloakroom.audit_leaves SET leaf = ''`, `DELETE FROM cloakroom.audit_leaves`,
		`TRUNCATE cloakroom.audit_leaves`, `DELETE FROM cloakroom.audit_nodes`,
	} {
		if _, err := db.Exec(statement); err == nil {
			t.Errorf("%s: done", statement)
		}
	}
}
