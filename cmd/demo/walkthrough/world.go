package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// actor is a person or a daemon: its database login and its access key, which KMS's policies know.
type actor struct{ name, login, accessKey string }

var (
	operator = actor{"operator", "", "init"} // owns the database
	daemon   = actor{"ingest", "demo_ingest", "ingest"}
	analyst  = actor{"analyst", "demo_analyst", "analyst"}
	auditor  = actor{"auditor", "demo_auditor", "auditor"}
	approver = actor{"approver", "demo_approver", "approver"}
	rotator  = actor{"rotator", "demo_rotator", "rotator"}
)

// grants are who gets which role.
var grants = []struct {
	actor
	role string
}{
	{daemon, "ingest"}, {analyst, "analyst"}, {auditor, "auditor"}, {approver, "approver"}, {rotator, "rotator"},
}

// kekURI is the KEK of the sandbox.
const kekURI = "awskms:///" + sandbox.Alias

// world is the sandbox, and everything that our programs logged.
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

// openWorld starts the sandbox. Postgres logs every statement: the canaries are looked for there, too.
func openWorld(ctx context.Context, keep string) (*world, error) {
	s, err := startSandbox(ctx, keep, map[string]string{"log_statement": "all", "log_min_duration_statement": "0"})
	if err != nil {
		return nil, err
	}
	return &world{Sandbox: s}, nil
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

// makeLogins makes a database login for everybody that has none yet.
func (w *world) makeLogins(ctx context.Context) error {
	db, err := w.database(operator)
	if err != nil {
		return err
	}
	for _, g := range grants {
		var there bool
		const exists = `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`
		if err := db.GetContext(ctx, &there, exists, g.login); err != nil {
			return pg.Redact(err)
		}
		if there {
			continue
		}
		if _, err := db.ExecContext(ctx, `CREATE ROLE `+pq.QuoteIdentifier(g.login)+` LOGIN`); err != nil {
			return pg.Redact(err)
		}
	}
	return nil
}

// database opens the database with somebody's login, until the demo ends.
func (w *world) database(who actor) (*sqlx.DB, error) {
	db, err := pg.Open(pg.Config{URL: w.URL(who.login), ApplicationName: "cloakroom demo"})
	if err != nil {
		return nil, err
	}
	w.open = append(w.open, func() { db.Close() })
	return db, nil
}

// as makes this process call AWS with somebody's access key from now on. Clients keep the one they were opened with.
func (w *world) as(accessKey string) error {
	for _, v := range w.Environment(accessKey) {
		if err := os.Setenv(v.Name, v.Value); err != nil {
			return err
		}
	}
	return nil
}

// vault opens the vault as the rotator, who alone may open every row: the demo compares them with what was sent.
func (w *world) vault(ctx context.Context) (*keys.Vault, error) {
	if err := w.as(rotator.accessKey); err != nil {
		return nil, err
	}
	set, err := kek.Open(ctx, kekURI)
	if err != nil {
		return nil, err
	}
	db, err := w.database(rotator)
	if err != nil {
		return nil, err
	}
	return &keys.Vault{DB: db, KEK: set}, nil
}

// send puts events on the queue, with those marked so to be delivered twice. It returns the message ids.
func (w *world) send(ctx context.Context, events []event) ([]string, error) {
	if err := w.as(sandbox.Admin); err != nil {
		return nil, err
	}
	q, err := queue.Open(ctx, queue.Config{URL: w.QueueURL})
	if err != nil {
		return nil, err
	}
	bodies := make([]string, len(events))
	twice := 0
	for i, e := range events {
		bodies[i] = e.body
		if e.twice {
			twice++
		}
	}
	w.SQS.DeliverTwice(sandbox.Queue, twice)
	return q.Send(ctx, bodies)
}

func (w *world) close() {
	for _, closeOne := range w.open {
		closeOne()
	}
	if err := w.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: stopping the sandbox:", err)
	}
}
