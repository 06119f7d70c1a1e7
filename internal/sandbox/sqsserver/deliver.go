package sqsserver

import (
	"context"
	"time"
)

// delivery is one message as one receive hands it out.
type delivery struct {
	message
	handle handle
}

// demand is what a receive asks of a queue.
type demand struct {
	most       int
	visibility *int // seconds; nil: the queue's default
	wait       *int // seconds; nil: the queue's default
	limit      int  // of messages in flight
}

// deliver hands out visible messages, waiting for the first as long as the demand says or until ctx ends. It appends
// to out. Dead letters go to the queue that find knows by its ARN; a redrive policy that names none is not applied.
func (q *queue) deliver(ctx context.Context, d demand, out []delivery,
	find func(arn string) *queue) ([]delivery, error) {
	var patience *time.Timer
	var over <-chan time.Time
	for last := false; ; {
		var dead []message
		q.mu.Lock()
		if q.gone {
			q.mu.Unlock()
			return nil, ErrQueueDoesNotExist
		}
		wait := valueOr(d.wait, q.attributes.wait)
		q.promote()
		room := d.limit - q.counts[inFlight]
		if room <= 0 && wait == 0 {
			q.mu.Unlock()
			return nil, ErrOverLimit
		}
		grave, maxReceives := q.grave(find)
		out, dead = q.handOut(min(d.most, room), valueOr(d.visibility, q.attributes.visibility), maxReceives, out)
		if len(dead) > 0 {
			q.mu.Unlock()
			grave.bury(dead, q.arn)
			if len(out) == 0 {
				continue // look again: what came meanwhile found nobody waiting
			}
			q.mu.Lock()
		}
		if len(out) > 0 || last || wait == 0 {
			if q.counts[ready] > 0 {
				q.pollers.wake(1)
			}
			q.mu.Unlock()
			return out, nil
		}
		woken := q.pollers.join()
		q.setAlarm()
		q.mu.Unlock()

		if patience == nil {
			patience = time.NewTimer(time.Duration(wait) * time.Second)
			defer patience.Stop()
			over = patience.C
		}
		select {
		case <-woken:
			continue
		case <-over:
			last = true
		case <-ctx.Done():
		}
		q.mu.Lock()
		q.pollers.leave(woken)
		q.mu.Unlock()
		if ctx.Err() != nil {
			return nil, nil // nobody is left to hear an answer
		}
	}
}

// handOut moves up to most visible messages in flight. A message that was received maxReceives times is a dead letter
// instead. The caller holds the lock.
func (q *queue) handOut(most, visibility, maxReceives int, out []delivery) (_ []delivery, dead []message) {
	now := q.millis()
	due := now + int64(visibility)*1000
	for most > 0 {
		slot, m, ok := q.take()
		if !ok {
			break
		}
		if int(m.receives) >= maxReceives {
			dead = append(dead, *m)
			q.drop(slot)
			continue
		}
		if m.receives == 0 {
			m.firstReceived = now
		}
		m.received = now
		q.schedule(slot, inFlight, due)
		out = q.hooks.delivered(append(out, q.receive(slot, m)))
		most--
		if q.hooks.twice > 0 && most > 0 {
			q.hooks.twice--
			out = q.hooks.delivered(append(out, q.receive(slot, m)))
			most--
		}
	}
	return out, dead
}

func (q *queue) receive(slot uint32, m *message) delivery {
	m.receives++
	q.given++
	return delivery{message: *m, handle: handle{queue: q.id, slot: slot, serial: m.serial, receive: m.receives}}
}

// delete removes the message of a handle. As at AWS it also succeeds, and does nothing, when the message is gone or
// was received again since; a handle whose visibility timeout ran out still deletes. The caller holds the lock.
func (q *queue) delete(h handle) {
	if m, ok := q.find(h); ok && m.receives == h.receive {
		q.drop(h.slot)
	}
}

// maxVisibility is the longest a message may stay invisible, counted from its receive, in seconds.
const maxVisibility = 12 * 60 * 60

// changeVisibility lets the message of a handle become visible in that many seconds. The caller holds the lock.
func (q *queue) changeVisibility(h handle, text string, seconds int) error {
	q.promote()
	m, ok := q.find(h)
	if !ok || m.receives != h.receive {
		return badParameter("ReceiptHandle", text,
			"Message does not exist or is not available for visibility timeout change.")
	}
	if m.state != inFlight {
		return ErrMessageNotInflight
	}
	due := q.millis() + int64(seconds)*1000
	if due-m.received > maxVisibility*1000 {
		return badParameter("VisibilityTimeout", seconds,
			"Total VisibilityTimeout for the message is beyond the limit [43200 seconds].")
	}
	if seconds == 0 {
		q.timers.remove(h.slot)
		q.show(h.slot)
		return nil
	}
	q.timers.change(h.slot, due)
	q.setAlarm()
	return nil
}

func valueOr[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}
