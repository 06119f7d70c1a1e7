package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/rotation"
)

// asRotator in the environment makes this program a rotator: a process of its own, as keys is, whose memory is the
// job's alone. It holds the orders, as JSON.
const asRotator = "CLOAKROOM_BENCH_AS_ROTATOR"

// orders tell a rotator what to do.
type orders struct {
	URL      string // of the rotator's login
	OwnerURL string // of a login that may act as the owner
	KEK      string
	Step     string // reseal, reindex, rewrap
	To       string // KEK of a rewrap
	Endless  bool   // begin again until killed
}

// turned is what a rotator did.
type turned struct {
	Rows     int64
	Wall     time.Duration
	Backfill float64 // rows a second of reindex's backfill alone, between its first batch and its last
	PeakMiB  float64 // 0: this system does not say
}

func (t turned) sample() sample { return sample{rows: int(t.Rows), wall: t.Wall} }

// serveRotator is the child's main. It prints "begun" when the first rows are done, and at its end what it did.
func serveRotator(ctx context.Context, text string, out io.Writer) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	v, options, err := o.open(ctx)
	if err != nil {
		return err
	}
	var clock backfillClock
	begun := sync.OnceFunc(func() { fmt.Fprintln(out, "begun") })
	options.Progress = func(p rotation.Progress) {
		begun()
		clock.tick(p)
	}
	for {
		t, err := o.turn(ctx, v, options)
		if err != nil {
			return err
		}
		if o.Endless {
			continue
		}
		t.Backfill = clock.rate()
		t.PeakMiB, _ = peakMiB()
		return json.NewEncoder(out).Encode(t)
	}
}

func (o orders) open(ctx context.Context) (*keys.Vault, rotation.Options, error) {
	set, err := kek.Open(ctx, o.KEK)
	if err != nil {
		return nil, rotation.Options{}, err
	}
	db, err := pg.Open(pg.Config{URL: o.URL})
	if err != nil {
		return nil, rotation.Options{}, err
	}
	owner, err := pg.Open(
		pg.Config{URL: o.OwnerURL, Role: pg.Owner, StatementTimeout: -1, LockTimeout: -1, MaxConns: 2})
	return &keys.Vault{DB: db, KEK: set}, rotation.Options{Force: true, Owner: owner}, err
}

func (o orders) turn(ctx context.Context, v *keys.Vault, options rotation.Options) (t turned, err error) {
	var r rotation.Report
	began := time.Now()
	switch o.Step {
	case "reseal":
		r, err = rotation.Reseal(ctx, v, options)
		t.Rows = r.Resealed
	case "reindex":
		if r, err = rotation.Reindex(ctx, v, options); r.Reindexed != nil {
			t.Rows = r.Reindexed.Rows
		}
	case "rewrap":
		r, err = rotation.Rewrap(ctx, v, o.To, options)
		t.Rows = int64(r.Rewrapped)
	default:
		err = fmt.Errorf("there is no step %q", o.Step)
	}
	t.Wall = time.Since(began)
	return t, err
}

// backfillClock measures a pass over the rows from its first batch to its last.
type backfillClock struct {
	mu                    sync.Mutex
	firstRows, lastRows   int64
	firstBatch, lastBatch time.Time
}

func (c *backfillClock) tick(p rotation.Progress) {
	if p.Step != "backfill" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.firstBatch.IsZero() {
		c.firstBatch, c.firstRows = time.Now(), p.Done
	}
	if p.Done > c.lastRows {
		c.lastBatch, c.lastRows = time.Now(), p.Done
	}
}

func (c *backfillClock) rate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lastBatch.After(c.firstBatch) {
		return 0
	}
	return float64(c.lastRows-c.firstRows) / c.lastBatch.Sub(c.firstBatch).Seconds()
}

// command is the child's.
func (o orders) command(ctx context.Context) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), asRotator+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// run runs a rotator to its end.
func (o orders) run(ctx context.Context) (turned, error) {
	var t turned
	cmd, err := o.command(ctx)
	if err != nil {
		return t, err
	}
	out, err := cmd.Output()
	if err != nil {
		return t, fmt.Errorf("running %s: %w", o.Step, err)
	}
	// Where nothing was due it did not begin.
	return t, json.Unmarshal(bytes.TrimPrefix(out, []byte("begun\n")), &t)
}

// start starts a rotator that goes on until the result is called, which kills it; start returns when it is at work.
func (o orders) start(ctx context.Context) (kill func() error, err error) {
	o.Endless = true
	cmd, err := o.command(ctx)
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var line [6]byte
	if _, err := io.ReadFull(out, line[:]); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a rotator: %w", err), cmd.Wait())
	}
	return func() error {
		err := errors.Join(cmd.Process.Kill(), cmd.Wait())
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			return fmt.Errorf("the rotator ended by itself: %w", err)
		}
		return nil
	}, nil
}
