package recovercmd

import (
	"errors"
	"os"
	"strings"
	"testing"

	"cloakroom/internal/cli"
	"cloakroom/internal/sandbox/kmsserver"
	recovery "cloakroom/recover"
	"cloakroom/recover/auditlog"
)

// witnessed is a vault with a log of some leaves under a checkpoint.
func witnessed(t *testing.T) (*fixture, auditlog.Witness, auditlog.Checkpoint) {
	t.Helper()
	c := newFixture(t)
	w := newWitness(t, c)
	opened, err := c.alice.Open(t.Context(), c.approved(t, params(nil)), recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	point, made, err := w.Checkpoint(t.Context())
	if !made || err != nil {
		t.Fatal(made, err)
	}
	if err := c.verifies(t, point); err != nil {
		t.Fatalf("before anything was done to it: %v", err)
	}
	// From here on the database's keeper does what he likes.
	c.admin.MustExec(`ALTER TABLE cloakroom.audit_leaves DISABLE TRIGGER ALL; ALTER TABLE cloakroom.audit_nodes DISABLE TRIGGER ALL;
		ALTER TABLE cloakroom.checkpoints DISABLE TRIGGER ALL`)
	return c, w, point
}

func (c *fixture) verifies(t *testing.T, points ...auditlog.Checkpoint) error {
	t.Helper()
	_, err := auditlog.Verify(t.Context(), auditlog.Log{DB: c.admin}.Leaves(), points, nil)
	return err
}

func wantInvalid(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, auditlog.ErrInvalid) || cli.ExitCode(err) != cli.ExitLogInvalid {
		t.Errorf("%s: %v", what, err)
	}
}

// writeAnew replaces every leaf, as who owns the database can.
func (c *fixture) writeAnew(leaves int) {
	c.admin.MustExec(`DELETE FROM cloakroom.audit_leaves; DELETE FROM cloakroom.audit_nodes; DELETE FROM cloakroom.checkpoints`)
	c.admin.MustExec(`SELECT cloakroom.append_leaf('key.innocent') FROM generate_series(1, $1)`, leaves)
}

func abuseLeafEdited(t *testing.T) {
	c, w, point := witnessed(t)
	c.admin.MustExec(`UPDATE cloakroom.audit_leaves SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'alice', 'other'), 'UTF8') WHERE seq = 4`)
	wantInvalid(t, "edited", c.verifies(t, point))
	// The report says so, too, and ends as verify does.
	p := c.start(t, c.bobURL, "report", "--from", "2020-01-01", "--to", "2099-01-01", "--checkpoints", string(w.Sink), "--public-key", publicKeyFile(t, w))
	if code := p.wait(); code != cli.ExitLogInvalid || !strings.Contains(p.stdout.String(), "INVALID") {
		t.Errorf("the report exits %d: %s%s", code, &p.stdout, &p.stderr)
	}
}

// publicKeyFile writes the witness's public key, which its checkpoints name, to a file.
func publicKeyFile(t *testing.T, w auditlog.Witness) string {
	t.Helper()
	path := t.TempDir() + "/public"
	text, err := os.ReadFile(publicKeys[w.Key.Name()])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func abuseTailCut(t *testing.T) {
	c, w, point := witnessed(t)
	c.admin.MustExec(`DELETE FROM cloakroom.audit_leaves WHERE seq >= 2; DELETE FROM cloakroom.audit_nodes WHERE id >= 3`)
	wantInvalid(t, "cut", c.verifies(t, point))
	_, made, err := w.Checkpoint(t.Context())
	wantInvalid(t, "the witness signs a cut log", err)
	if made {
		t.Error("it signed")
	}
}

func abuseRewrite(t *testing.T) {
	c, w, older := witnessed(t)
	c.writeAnew(10)
	// With the stolen key and a sink of the thief's own.
	w.Sink = auditlog.Sink(t.TempDir())
	newer, made, err := w.Checkpoint(t.Context())
	if !made || err != nil {
		t.Fatal(made, err)
	}
	if err := c.verifies(t, newer); err != nil {
		t.Fatalf("to somebody who has the thief's checkpoint alone it looks fine; here: %v", err)
	}
	wantInvalid(t, "with an older checkpoint", c.verifies(t, older, newer))
}

func abuseFork(t *testing.T) {
	c, w, honest := witnessed(t)
	c.writeAnew(int(honest.Size))
	fork := w
	fork.Sink = auditlog.Sink(t.TempDir())
	other, made, err := fork.Checkpoint(t.Context())
	if !made || err != nil || other.Size != honest.Size {
		t.Fatal(other, made, err)
	}
	wantInvalid(t, "both branches' checkpoints together", c.verifies(t, honest, other))
	wantInvalid(t, "a sink that has seen the other branch", w.Sink.Put(other))
	_, _, err = w.Checkpoint(t.Context())
	wantInvalid(t, "the witness goes on with the fork", err)
}

// withKMS is a vault whose data keys are wrapped by a KMS, and that KMS.
func withKMS(t *testing.T) (*fixture, *kmsserver.Server) {
	t.Helper()
	srv := kmsserver.New(kmsserver.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": srv.URL(), "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "auditor", "AWS_SECRET_ACCESS_KEY": "a secret of sixteen and more",
		"AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	return newFixtureUnder(t, "awskms:///alias/cloakroom,"), srv
}
