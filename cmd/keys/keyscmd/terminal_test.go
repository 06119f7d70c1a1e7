//go:build unix

package keyscmd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/cli"
	"cloakroom/internal/cli/ptytest"
	"cloakroom/keys/keystest"
)

// terminalWorld is a vault with rows, and keys on a terminal.
type terminalWorld struct {
	*keystest.Env
	t       *testing.T
	rotator string
	writer  *etl.Writer
	stored  int
}

func newTerminalWorld(t *testing.T) *terminalWorld {
	env := keystest.New(t)
	return &terminalWorld{Env: env, t: t, rotator: env.As(t, "rotator", "rotator"), writer: etltest.NewWriter(t, env, "ingest")}
}

func (w *terminalWorld) ingest(n int) {
	w.t.Helper()
	etltest.Run(w.t, w.writer, etltest.NewSource(etltest.Logins(w.stored, w.stored+n)), etl.Options{BatchDelay: time.Millisecond})
	w.stored += n
}

// sql runs a statement as the superuser.
func (w *terminalWorld) sql(statement string) {
	w.t.Helper()
	w.Open(w.t, "").MustExec(statement)
}

func (w *terminalWorld) start(columns int, url string, args ...string) *ptytest.Program {
	w.t.Helper()
	cmd := exec.Command("keys", args...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+url, "CLOAKROOM_KEK="+w.KEK)
	return ptytest.Start(w.t, columns, cmd)
}

// run runs keys to its end and wants its exit code. Every line that was drawn fits, and none is
// left.
func (w *terminalWorld) run(code int, columns int, args ...string) string {
	w.t.Helper()
	p := w.start(columns, w.rotator, args...)
	return w.end(p, code)
}

func (w *terminalWorld) end(p *ptytest.Program, code int) string {
	w.t.Helper()
	if got := p.Wait(); got != code {
		w.t.Errorf("exit code %d, want %d:\n%s", got, code, p.Seen())
	}
	p.Drawn()
	screen := strings.Join(p.Screen(), "\n")
	for _, word := range []string{"rows/s", " left\n"} {
		if strings.Contains(screen, word) {
			w.t.Errorf("a progress line was left:\n%s", screen)
		}
	}
	return screen
}

// A job that is done ends, whatever was estimated.
func TestJobsEndOnATerminal(t *testing.T) {
	for _, columns := range []int{46, 65} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			t.Parallel()
			w := newTerminalWorld(t)
			w.ingest(600)
			// The estimate of a reindex is ANALYZE's: first too high, then too low.
			w.sql(`ANALYZE cloakroom_data.user_logins; DELETE FROM cloakroom_data.user_logins WHERE user_id > 'user-3'`)
			if screen := w.run(0, columns, "reseal", "--force"); !strings.Contains(screen, "resealed") {
				t.Error(screen)
			}
			if screen := w.run(0, columns, "reindex", "--batch-rows", "10", "--rate", "200"); !strings.Contains(screen, "reindexed") {
				t.Error(screen)
			}
			w.sql(`ANALYZE cloakroom_data.user_logins`)
			w.ingest(600)
			if screen := w.run(0, columns, "reindex", "--batch-rows", "50", "--rate", "1000"); !strings.Contains(screen, "reindexed") {
				t.Error(screen)
			}
		})
	}
}

// Ctrl-C is answered, the job says that it is not finished, and the next one finishes it.
func TestJobsInterruptedOnATerminal(t *testing.T) {
	for step, done := range map[string]string{"reseal": "resealed", "reindex": "reindexed"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newTerminalWorld(t)
			w.ingest(600)
			args := []string{step, "--batch-rows", "5", "--workers", "1"}
			if step == "reseal" {
				args = append(args, "--force")
			}
			p := w.start(65, w.rotator, append(args, "--rate", "50")...)
			p.WaitFor(" of about ")
			p.Type("\x03")
			p.WaitFor("stopping: what is in hand is finished first")
			if screen := w.end(p, cli.ExitUnfinished); !strings.Contains(screen, "it was asked to stop; what was done is kept: run it again") {
				t.Error(screen)
			}
			if screen := w.run(0, 65, "status"); !strings.Contains(screen, "unfinished  "+step+", begun ") {
				t.Errorf("status does not know of it:\n%s", screen)
			}
			if screen := w.run(0, 65, args...); !strings.Contains(screen, done) {
				t.Error(screen)
			}
			if screen := w.run(0, 65, "status"); strings.Contains(screen, "unfinished") {
				t.Errorf("status says it is unfinished:\n%s", screen)
			}
		})
	}
}

// A row that does not open ends a job halfway; the line is taken off anyway.
func TestJobsFailOnATerminal(t *testing.T) {
	t.Parallel()
	w := newTerminalWorld(t)
	w.ingest(300)
	w.sql(`UPDATE cloakroom_data.user_logins SET sealed_ip = set_byte(sealed_ip, 30, get_byte(sealed_ip, 30) # 1) WHERE user_id = 'user-3'`)
	screen := w.run(cli.ExitIntegrity, 46, "reseal", "--force", "--batch-rows", "50", "--rate", "300")
	if !strings.Contains(screen, "QUARANTINED") {
		t.Error(screen)
	}
}

func TestPolicyAsksOnATerminal(t *testing.T) {
	t.Parallel()
	w := newTerminalWorld(t)
	for _, c := range []struct {
		answer string
		code   int
		after  int
	}{{"\n", 1, 1}, {"no\n", 1, 1}, {"y\n", 0, 0}} {
		p := w.start(80, w.URL(""), "policy", "set", "approvals", "none")
		p.WaitFor("Go on? [y/N] ")
		p.Type(c.answer)
		if code := p.Wait(); code != c.code {
			t.Errorf("answer %q: exit code %d, want %d: %s", c.answer, code, c.code, p.Seen())
		}
		var approvals int
		if err := w.Open(t, "").Get(&approvals, `SELECT approvals FROM cloakroom.settings`); err != nil || approvals != c.after {
			t.Errorf("answer %q: %d approvals, %v, want %d", c.answer, approvals, err, c.after)
		}
	}
}
