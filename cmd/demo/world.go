package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// people are the demo's logins; the access key of KMS has the role's name. The auditor may approve, too: other people's
// requests, not their own.
var people = []struct{ login, role string }{
	{"demo_ingest", "ingest"}, {"demo_analyst", "analyst"}, {"demo_auditor", "auditor"}, {"demo_auditor", "approver"},
	{"demo_approver", "approver"}, {"demo_rotator", "rotator"},
}

// kekURI is the KEK of the sandbox.
const kekURI = "awskms:///" + sandbox.Alias

// world is the sandbox with a vault in it, and everything our own logger said.
type world struct {
	*sandbox.Sandbox
	log  logBuffer
	open []func()
}

// logBuffer keeps our own log, to look for canaries in it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.text.Bytes())
}

// openWorld starts the sandbox, makes the vault and gives everybody a login.
func openWorld(ctx context.Context, keep string) (*world, error) {
	w := &world{}
	// Postgres logs every statement: the canaries are looked for there, too.
	s, err := startSandbox(ctx, keep, map[string]string{"log_statement": "all", "log_min_duration_statement": "0"})
	if err != nil {
		return nil, err
	}
	w.Sandbox = s
	slog.SetDefault(slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err := w.prepare(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func startSandbox(ctx context.Context, keep string, settings map[string]string) (*sandbox.Sandbox, error) {
	if keep != "" {
		var err error
		if keep, err = filepath.Abs(keep); err != nil {
			return nil, err
		}
	}
	return sandbox.Start(ctx, sandbox.Config{Dir: keep, Settings: settings})
}

func (w *world) prepare(ctx context.Context) error {
	set, err := w.kek(ctx, "init")
	if err != nil {
		return err
	}
	if _, err := keys.Init(ctx, w.URL(""), set); err != nil {
		return err
	}
	admin, err := pg.Open(pg.Config{URL: w.URL("")})
	if err != nil {
		return err
	}
	defer admin.Close()
	for _, p := range people {
		var there bool
		if err := admin.GetContext(ctx, &there, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, p.login); err != nil {
			return pg.Redact(err)
		}
		if !there {
			if _, err := admin.ExecContext(ctx, `CREATE ROLE `+pq.QuoteIdentifier(p.login)+` LOGIN`); err != nil {
				return pg.Redact(err)
			}
		}
		if err := keys.Grant(ctx, w.URL(""), p.login, p.role); err != nil {
			return err
		}
	}
	return nil
}

// as makes this process call AWS with an access key from now on. Clients keep the one they were opened with.
func (w *world) as(accessKey string) error {
	for _, v := range w.Environment(accessKey) {
		if err := os.Setenv(v.Name, v.Value); err != nil {
			return err
		}
	}
	return nil
}

// kek opens the KEK with a role's access key.
func (w *world) kek(ctx context.Context, role string) (*kek.Set, error) {
	if err := w.as(role); err != nil {
		return nil, err
	}
	return kek.Open(ctx, kekURI)
}

// vault opens the vault with a role's login and access key.
func (w *world) vault(ctx context.Context, role string) (*keys.Vault, error) {
	set, err := w.kek(ctx, role)
	if err != nil {
		return nil, err
	}
	db, err := pg.Open(pg.Config{URL: w.URL(w.login(role)), ApplicationName: "cloakroom demo " + role})
	if err != nil {
		return nil, err
	}
	w.open = append(w.open, func() { db.Close() })
	return &keys.Vault{DB: db, KEK: set}, nil
}

func (w *world) login(role string) string {
	for _, p := range people {
		if p.role == role && p.login == "demo_"+role {
			return p.login
		}
	}
	panic(fmt.Sprintf("the demo has nobody with the role %q", role))
}

// queue opens the queue with an access key.
func (w *world) queue(ctx context.Context, accessKey string) (*queue.Queue, error) {
	if err := w.as(accessKey); err != nil {
		return nil, err
	}
	return queue.Open(ctx, queue.Config{URL: w.QueueURL})
}

func (w *world) close() {
	for _, closeOne := range w.open {
		closeOne()
	}
	if err := w.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: stopping the sandbox:", err)
	}
}
