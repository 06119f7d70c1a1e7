package auditlog

import (
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/keys/keystest"
)

// rewrite does to the log what a DBA can do.
func rewrite(t *testing.T, db *sqlx.DB, statements ...string) {
	t.Helper()
	db.MustExec(`ALTER TABLE cloakroom.audit_leaves DISABLE TRIGGER ALL; ALTER TABLE cloakroom.audit_nodes DISABLE TRIGGER ALL`)
	for _, s := range statements {
		db.MustExec(s)
	}
}

func newWitness(t *testing.T) (Witness, *sqlx.DB) {
	t.Helper()
	env := keystest.New(t)
	emptied(t, env)
	s := newSigning(t)
	w := Witness{Log: Log{env.Pool(t, env.As(t, "witness", "witness"))}, Signer: s.signer, Key: s.key, Sink: Sink(t.TempDir())}
	return w, env.Open(t, "")
}

func appendLeaves(db *sqlx.DB, n int) {
	db.MustExec(`SELECT cloakroom.append_leaf('key.test') FROM generate_series(1, $1)`, n)
}

func TestWitness(t *testing.T) {
	w, db := newWitness(t)
	if _, made, err := w.Checkpoint(t.Context()); made || err != nil {
		t.Fatalf("of an empty log: %v, %v", made, err)
	}
	appendLeaves(db, 5)
	first, made, err := w.Checkpoint(t.Context())
	if !made || err != nil || first.Size != 5 {
		t.Fatalf("%+v, %v, %v", first, made, err)
	}
	// Its own leaf is no news.
	if _, made, err := w.Checkpoint(t.Context()); made || err != nil {
		t.Fatalf("again: %v, %v", made, err)
	}
	appendLeaves(db, 2)
	second, made, err := w.Checkpoint(t.Context())
	if !made || err != nil || second.Size != 8 {
		t.Fatalf("%+v, %v, %v", second, made, err)
	}
	kept, err := ReadCheckpoints(string(w.Sink), w.Key)
	if err != nil || len(kept) != 2 {
		t.Fatal(kept, err)
	}
	r, err := Verify(t.Context(), w.Log.Leaves(), kept, nil)
	if err != nil || r.Covered != 8 || r.Size != 9 {
		t.Errorf("%+v, %v", r, err)
	}

	proof, err := w.Log.ProveInclusion(t.Context(), second.Size, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.Check(second); err != nil {
		t.Error(err)
	}
	if err := proof.Check(first); !errors.Is(err, ErrInvalid) {
		t.Errorf("against another checkpoint: %v", err)
	}
	proof.Leaf = string(leafText(3, "deny"))
	if err := proof.Check(second); !errors.Is(err, ErrInvalid) {
		t.Errorf("an edited leaf: %v", err)
	}
}

func TestWitnessRefusesAnotherLog(t *testing.T) {
	for name, statements := range map[string][]string{
		"tail cut":  {`DELETE FROM cloakroom.audit_leaves WHERE seq > 3`, `DELETE FROM cloakroom.audit_nodes WHERE id > 6`},
		"hash gone": {`DELETE FROM cloakroom.audit_nodes WHERE id = 6`},
		"written again": {`DELETE FROM cloakroom.audit_leaves`, `DELETE FROM cloakroom.audit_nodes`,
			`SELECT cloakroom.append_leaf('key.other') FROM generate_series(1, 20)`},
	} {
		t.Run(name, func(t *testing.T) {
			w, db := newWitness(t)
			appendLeaves(db, 6)
			if _, _, err := w.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			rewrite(t, db, statements...)
			if _, made, err := w.Checkpoint(t.Context()); made || !errors.Is(err, ErrInvalid) {
				t.Errorf("signed: %v, %v", made, err)
			}
		})
	}
}

func TestOnlyAWitnessRecords(t *testing.T) {
	env := keystest.New(t)
	appendLeaves(env.Open(t, ""), 3)
	s := newSigning(t)
	for _, role := range []string{"auditor", "approver", "rotator", "analyst", "ingest"} {
		w := Witness{Log: Log{env.Pool(t, env.As(t, role, role))}, Signer: s.signer, Key: s.key, Sink: Sink(t.TempDir())}
		if _, _, err := w.Checkpoint(t.Context()); err == nil {
			t.Errorf("%s records a checkpoint", role)
		}
	}
	witness := env.Pool(t, env.As(t, "witness", "witness"))
	if _, err := witness.Exec(`SELECT cloakroom.record_checkpoint(3, sha256('x'), 'note')`); err == nil {
		t.Error("a root that is not the log's is recorded")
	}
}
