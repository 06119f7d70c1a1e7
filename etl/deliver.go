package etl

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// delivery brings batches into the database, whatever it takes: it holds on through outages, protects a batch again when
// the vault has moved on, and finds the row that the database refuses.
type delivery struct {
	*run
	loader    *loader
	protector *protector
}

// deliver commits a batch, in parts if a row of it is refused. refused is what the database has refused of its events before.
// It returns an error only where the context ended or the run gave up.
func (d *delivery) deliver(ctx context.Context, b *batch, refused refusal) error {
	messages := b.messages
	began := time.Now()
	outage := newOutage(d.run, "loading a batch")
	turns := 0
	for {
		counts, err := d.loader.load(ctx, b)
		switch {
		case err == nil:
			b.release()
			d.committed(messages, time.Since(began), counts)
			return nil
		case errors.Is(err, errLeft):
			return ctx.Err() // the batch's buffers are still read
		case ctx.Err() != nil:
			b.release()
			return ctx.Err()
		case errors.Is(err, errStale):
			stale := b.state
			b.release()
			d.Log.Info("the vault has moved on: protecting a batch again", "events", len(messages))
			if turns++; turns > staleTurns {
				// The vault does not move on so often: something is wrong with it, and new keys do not help.
				if err := outage.wait(ctx, err); err != nil {
					return err
				}
			}
			if b, err = d.again(ctx, stale, messages, refused); err != nil {
				return err
			}
		case pg.Code(err) == pg.ClocksDiffer:
			b.release()
			if err := outage.wait(ctx, err); err != nil {
				return err
			}
			// Its events' days were judged by a clock that may have been wrong.
			if b, err = d.protectBatch(ctx, d.protector, messages, refused); err != nil {
				return err
			}
		case pg.IsDataError(err) && refused != rejectionRefused:
			if len(messages) == 1 {
				refused = rowRefused
				if b.nRejected > 0 {
					refused = rejectionRefused
				}
			}
			b.release()
			return d.bisect(ctx, messages, refused, err)
		default:
			if err := outage.wait(ctx, err); err != nil {
				b.release()
				return err
			}
		}
	}
}

// staleTurns is how often a batch is protected again at once: a rotation step or a restore may come between two reads.
const staleTurns = 5

// again reads the vault's state anew and protects the messages under it.
func (d *delivery) again(ctx context.Context, stale *writerState, messages []*Message, refused refusal) (*batch, error) {
	outage := newOutage(d.run, "reading the vault's state")
	for {
		err := d.writer.renew(ctx, stale)
		if err == nil {
			return d.protectBatch(ctx, d.protector, messages, refused)
		}
		if err := outage.wait(ctx, err); err != nil {
			return nil, err
		}
	}
}

// bisect loads the halves of a batch that the database refused for its data. A single event that is refused becomes a
// rejection, and a rejection that is refused one that holds less.
func (d *delivery) bisect(ctx context.Context, messages []*Message, refused refusal, cause error) error {
	parts := [][]*Message{messages}
	if len(messages) > 1 {
		parts = [][]*Message{messages[:len(messages)/2], messages[len(messages)/2:]}
	} else {
		d.Log.Warn("the database refuses an event: it becomes a rejection", "message_id", messages[0].ID, "error", cause)
	}
	for _, part := range parts {
		b, err := d.protectBatch(ctx, d.protector, part, refused)
		if err != nil {
			return err
		}
		if err := d.deliver(ctx, b, refused); err != nil {
			return err
		}
	}
	return nil
}

// protectBatch protects messages, waiting for a data key through outages.
func (r *run) protectBatch(ctx context.Context, p *protector, messages []*Message, refused refusal) (*batch, error) {
	outage := newOutage(r, "getting a data key")
	renewed := 0
	for {
		b, err := p.protect(ctx, messages, refused)
		if err == nil {
			return b, nil
		}
		if pg.Code(err) == pg.StaleEpoch && renewed < staleTurns {
			// The vault takes no event of that month, which was judged to be right: by an old policy, or a wrong clock.
			if err = r.writer.renew(ctx, p.state); err == nil {
				renewed++
				continue
			}
		}
		if err := outage.wait(ctx, err); err != nil {
			return nil, err
		}
	}
}

// outage is a failure that goes on: it backs off with jitter, logs when it begins and now and then, and gives up after
// Options.MaxOutage.
type outage struct {
	run     *run
	doing   string
	began   time.Time
	logged  time.Time
	backoff *backoff.ExponentialBackOff
}

func newOutage(r *run, doing string) *outage {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 100 * time.Millisecond
	b.MaxInterval = 10 * time.Second
	return &outage{run: r, doing: doing, backoff: b}
}

// logEvery is how often an outage that goes on is logged.
const logEvery = 30 * time.Second

// wait sleeps before the next try. It returns an error where there is none: the context ended, or the run gives up.
func (o *outage) wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if o.run.Holding != nil {
		o.run.Holding(o.doing, err)
	}
	now := time.Now()
	if o.began.IsZero() {
		o.began = now
	}
	if limit := o.run.MaxOutage; limit > 0 && (!passes(err) || now.Sub(o.began) >= limit) {
		return gaveUp(err, now.Sub(o.began))
	}
	if now.Sub(o.logged) >= logEvery {
		o.logged = now
		o.run.Log.Error("holding events", "doing", o.doing, "error", err, "since", o.began.UTC().Format(time.RFC3339))
	}
	select {
	case <-time.After(o.backoff.NextBackOff()):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// passes reports a failure that may pass by itself. Others (a missing grant, a disabled KEK) need an operator: a daemon
// holds on for them too, a command says so at once.
func passes(err error) bool { return pg.IsUnavailable(err) || errors.Is(err, kek.ErrUnavailable) }
