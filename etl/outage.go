package etl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cloakroom/internal/objects"
	"cloakroom/internal/pg"
	"cloakroom/internal/retry"
	"cloakroom/keys/kek"
)

// ErrGaveUp reports an outage that lasted longer than Options.MaxOutage, or one that cannot pass by
// itself. Nothing is lost: what was not committed is still at its source.
var ErrGaveUp = errors.New("gave up")

// GaveUp is ErrGaveUp with its cause and how long the outage lasted.
func GaveUp(cause error, after time.Duration) error {
	return fmt.Errorf("%w after %v: %w", ErrGaveUp, after.Round(time.Second), cause)
}

// LogEvery is how often an outage that goes on is logged.
const LogEvery = 30 * time.Second

// pauses are those between two tries while the database or the KEK is away: long enough not to
// hinder its start, short enough that nobody waits for us after it.
var pauses = retry.Pauses{First: 100 * time.Millisecond, Max: 10 * time.Second}

// outages is what a run knows of the outages that its goroutines wait for. They are logged as one:
// several loaders meet the same dead database.
type outages struct {
	mu      sync.Mutex
	waiting int            // goroutines that wait
	doing   map[string]int // of them, by what they do
	began   time.Time      // when the first of them began to
	held    int64          // most events that were received and not committed
	logs    map[string]*rate.Sometimes
}

// outage is one goroutine's waiting for what it does to succeed. It pauses between tries, logs, and
// gives up after Options.MaxOutage. Call end when the try has succeeded or nothing more is tried.
type outage struct {
	run   *run
	all   *outages
	doing string
	began time.Time // of the failures; zero: no try has failed
	pacer *retry.Pacer
	ended bool // by the context, or because the run gives up
}

func (r *run) newOutage(doing string) *outage { return &outage{run: r, all: &r.outages, doing: doing} }

// wait sleeps before the next try. It returns an error if there is none: the context ended, or the
// run gives up.
func (o *outage) wait(ctx context.Context, err error) error {
	if o.run.Holding != nil && ctx.Err() == nil {
		o.run.Holding(o.doing, err)
	}
	log := o.begin()
	stop := ctx.Err()
	lasted := time.Since(o.began)
	if limit := o.run.MaxOutage; stop == nil && limit > 0 && (!passes(err) || lasted >= limit) {
		stop = GaveUp(err, lasted)
	}
	if stop == nil {
		log.Do(func() {
			o.run.Log.Error("holding events",
				"doing", o.doing, "error", err, "since", o.began.UTC().Format(time.RFC3339))
		})
		stop = retry.Sleep(ctx, o.pacer.Next())
	}
	o.ended = stop != nil
	return stop
}

// begin notes a failed try, and gives what limits the log lines of this kind.
func (o *outage) begin() *rate.Sometimes {
	all, held := o.all, o.run.held()
	all.mu.Lock()
	defer all.mu.Unlock()
	if o.began.IsZero() {
		o.began, o.pacer = time.Now(), pauses.Pacer()
		if all.waiting++; all.waiting == 1 {
			all.began, all.held, all.logs, all.doing = o.began, 0, map[string]*rate.Sometimes{}, map[string]int{}
		}
		all.doing[o.doing]++
	}
	all.held = max(all.held, held)
	if all.logs[o.doing] == nil {
		all.logs[o.doing] = &rate.Sometimes{Interval: LogEvery}
	}
	return all.logs[o.doing]
}

// end says that the waiting is over. The last goroutine to call it logs the end of the outage.
func (o *outage) end() {
	if o.began.IsZero() {
		return
	}
	o.began = time.Time{}
	all := o.all
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.doing[o.doing]--; all.doing[o.doing] == 0 && o.run.Resumed != nil {
		o.run.Resumed(o.doing)
	}
	if all.waiting--; all.waiting == 0 && !o.ended {
		o.run.Log.Info("the outage is over", "lasted", time.Since(all.began).Round(time.Millisecond), "held", all.held)
	}
}

// passes reports a failure that may pass by itself. Others (a missing grant, a disabled KEK) need
// an operator: a daemon holds on for them too, a command says so at once.
func passes(err error) bool {
	return pg.IsUnavailable(err) || errors.Is(err, kek.ErrUnavailable) || errors.Is(err, objects.ErrUnavailable)
}
