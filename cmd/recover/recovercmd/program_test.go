package recovercmd

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/google/uuid"

	"cloakroom/recover/auditlog"
)

// process is the real program at work.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

// start runs the program as a login, with arguments and, from its standard input, nothing.
func (c *fixture) start(t testing.TB, url string, args ...string) *process {
	t.Helper()
	return c.startWith(t, url, "", args...)
}

func (c *fixture) startWith(t testing.TB, url, stdin string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), asRecover+"=1", "DATABASE_URL="+url, "CLOAKROOM_KEK="+c.KEK, "CLOAKROOM_LOG_LEVEL=debug")
	p.cmd.Stdin = bytes.NewBufferString(stdin)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// wait waits for the program's end and returns its exit code.
func (p *process) wait() int {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// publicKeys are the files of the witnesses' public keys, by their name.
var publicKeys = map[string]string{}

func newWitness(t testing.TB, c *fixture) auditlog.Witness {
	t.Helper()
	db := c.Pool(t, c.As(t, "witness", "witness"))
	var id uuid.UUID
	if err := db.Get(&id, `SELECT vault_id FROM cloakroom.vault()`); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secretKey, publicKey, err := auditlog.GenerateKey(id)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"/key": secretKey, "/key.pub": publicKey} {
		if err := os.WriteFile(dir+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	publicKeys[auditlog.Origin(id)] = dir + "/key.pub"
	signer, err := auditlog.ReadSigner(dir + "/key")
	if err != nil {
		t.Fatal(err)
	}
	key, err := auditlog.ReadVerifier(dir + "/key.pub")
	if err != nil {
		t.Fatal(err)
	}
	return auditlog.Witness{Log: auditlog.Log{DB: db}, Signer: signer, Key: key, Sink: auditlog.Sink(t.TempDir())}
}
