// Package retry runs something again until it succeeds, with growing pauses between the tries.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Pauses between tries. A zero field takes the default named beside it.
type Pauses struct {
	First time.Duration // 20 ms; each next pause is half as long again, give or take half of it
	Max   time.Duration // 5 s
	// Total is how long to go on trying. 0: until the context ends.
	Total time.Duration
}

// ErrGaveUp is in the error of Do where Pauses.Total ran out, beside the error of the last try.
var ErrGaveUp = errors.New("gave up trying again")

// Do calls f until it returns nil, an error for which again is false, or until no time is left.
// again may be nil: then every error is tried again. It returns the error of the last try; where
// the context ended, the context's error too.
func Do(ctx context.Context, p Pauses, again func(error) bool, f func() error) error {
	began := time.Now()
	b := p.start()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f()
		if err == nil || again != nil && !again(err) {
			return err
		}
		pause := b.NextBackOff()
		if p.Total > 0 && time.Since(began)+pause > p.Total {
			return fmt.Errorf("%w (%w after %v)", err, ErrGaveUp, p.Total)
		}
		if Sleep(ctx, pause) != nil {
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}

// Pacer gives the pauses of one loop that does its own waiting. Not for concurrent use.
type Pacer struct{ b *backoff.ExponentialBackOff }

// Pacer begins a row of growing pauses.
func (p Pauses) Pacer() *Pacer { return &Pacer{p.start()} }

// Next is how long to wait before the next try.
func (p *Pacer) Next() time.Duration { return p.b.NextBackOff() }

// Reset begins with the first pause again, after a success.
func (p *Pacer) Reset() { p.b.Reset() }

func (p Pauses) start() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 20*time.Millisecond, 5*time.Second
	if p.First > 0 {
		b.InitialInterval = p.First
	}
	if p.Max > 0 {
		b.MaxInterval = p.Max
	}
	b.Reset()
	return b
}

// Sleep waits, or returns the context's error as soon as it ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
