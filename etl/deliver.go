package etl

import (
	"context"
	"errors"
	"time"

	"cloakroom/internal/pg"
)

// delivery brings batches into the database. It holds on through outages, protects a batch again
// when the vault's state has changed, and finds the row that the database refuses.
type delivery struct {
	*lane
	loader    *Loader
	protector *Protector
}

// deliver commits a batch, in parts if a row of it is refused. refused is what the database has
// refused of its events before. It returns an error only where the context ended or the run gave
// up.
func (d *delivery) deliver(ctx context.Context, b *Batch, refused refusal) error {
	messages := b.messages
	began := time.Now()
	outage := d.newOutage("loading a batch")
	defer outage.end()
	stale := 0
	for {
		counts, err := d.loader.load(ctx, b)
		switch {
		case err == nil:
			b.Release()
			outage.end()
			d.committed(messages, time.Since(began), counts)
			return nil
		case errors.Is(err, errAbandoned):
			return ctx.Err() // the call that was left behind still reads the batch's buffers
		case ctx.Err() != nil:
			b.Release()
			return ctx.Err()
		case errors.Is(err, errStale):
			old := b.state
			b.Release()
			d.Log.Info("the vault has moved on: protecting a batch again", "events", len(messages))
			if stale++; stale > staleTurns {
				// The vault does not change so often. Something is wrong with it, and new keys do
				// not help.
				if err := outage.wait(ctx, err); err != nil {
					return err
				}
			}
			if b, err = d.again(ctx, old, messages, refused); err != nil {
				return err
			}
		case pg.Code(err) == pg.ClocksDiffer:
			b.Release()
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
				if b.rejected() > 0 {
					refused = rejectionRefused
				}
			}
			b.Release()
			outage.end()
			return d.bisect(ctx, messages, refused, err)
		default:
			if err := outage.wait(ctx, err); err != nil {
				b.Release()
				return err
			}
		}
	}
}

// staleTurns is how often a batch is protected again without a pause: a rotation step or a restore
// may come between two reads.
const staleTurns = 5

// again reads the vault's state once more and protects the messages under it.
func (d *delivery) again(ctx context.Context, old *writerState, messages []*Message, refused refusal) (*Batch, error) {
	outage := d.newOutage("reading the vault's state")
	defer outage.end()
	for {
		err := d.writer.renew(ctx, old)
		if err == nil {
			outage.end()
			return d.protectBatch(ctx, d.protector, messages, refused)
		}
		if err := outage.wait(ctx, err); err != nil {
			return nil, err
		}
	}
}

// bisect loads the halves of a batch that the database refused for its data. A single event that is
// refused becomes a rejection, and a rejection that is refused becomes one that holds less.
func (d *delivery) bisect(ctx context.Context, messages []*Message, refused refusal, cause error) error {
	parts := [][]*Message{messages}
	if len(messages) > 1 {
		parts = [][]*Message{messages[:len(messages)/2], messages[len(messages)/2:]}
	} else {
		d.Log.Warn("the database refuses an event: it becomes a rejection",
			"message_id", messages[0].ID, "error", cause)
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

// protectBatch protects messages, and waits for a data key through outages.
func (l *lane) protectBatch(ctx context.Context, p *Protector, messages []*Message, refused refusal) (*Batch, error) {
	outage := l.newOutage("getting a data key")
	defer outage.end()
	renewed := 0
	for {
		b, err := p.protect(ctx, &l.Input, messages, refused)
		if err == nil {
			return b, nil
		}
		if pg.Code(err) == pg.StaleEpoch && renewed < staleTurns {
			// We judged that an event of that month may be stored, and the vault says no: our
			// policy or a clock is wrong.
			if err = l.writer.renew(ctx, p.state); err == nil {
				renewed++
				continue
			}
		}
		if err := outage.wait(ctx, err); err != nil {
			return nil, err
		}
	}
}
