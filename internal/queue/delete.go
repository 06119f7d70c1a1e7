package queue

import (
	"context"
	"time"

	"cloakroom/internal/retry"
)

// maxDeleteAttempts bounds how often SQS may refuse to delete one message. A message that stays
// comes back after its visibility timeout and is dropped as a duplicate: late, not lost. Calls that
// fail as a whole do not count. During an outage what is done stays held, which in time stops
// receiving; else it would be received and dropped again and again.
const maxDeleteAttempts = 20

// linger is how long a deleter waits for a batch to fill.
const linger = 5 * time.Millisecond

func (c *Consumer) deleteLoop(ctx context.Context) {
	pause := retry.Pauses{First: 100 * time.Millisecond}.Pacer()
	for {
		batch := c.nextDeletes()
		if batch == nil {
			return
		}
		if c.deleteHolds(ctx, batch) {
			pause.Reset()
			continue
		}
		_ = retry.Sleep(ctx, pause.Next()) // nextDeletes says when to end
	}
}

// nextDeletes waits for up to 10 messages to delete. It returns nil when the consumer has ended and
// nothing is left, or when Close no longer waits.
func (c *Consumer) nextDeletes() []*hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	lingered := false
	for {
		switch {
		case c.stopped, len(c.done) == 0 && c.ended && c.deleting == 0:
			return nil
		case len(c.done) == 0:
			c.ready.Wait()
			lingered = false
			continue
		case len(c.done) < maxBatch && !lingered && !c.ended:
			lingered = true
			c.mu.Unlock()
			time.Sleep(linger)
			c.mu.Lock()
			continue
		}
		n := min(maxBatch, len(c.done))
		batch := append([]*hold(nil), c.done[:n]...)
		c.done = c.done[n:]
		if len(c.done) == 0 {
			c.done = nil // let the array go
		}
		return batch
	}
}

// deleteHolds deletes a batch. What failed goes back to the queue of deletes. It reports whether
// all went well.
func (c *Consumer) deleteHolds(ctx context.Context, batch []*hold) bool {
	handles := c.handles(batch)
	failed, err := c.queue.deleteBatch(ctx, handles)
	if err != nil {
		if ctx.Err() == nil {
			c.deleteLog.Do(func() {
				c.log.Warn("deleting committed messages failed: trying again", "error", err, "messages", len(batch))
			})
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, h := range batch {
			c.deleteAgain(h)
		}
		return false
	}
	refused := make(map[int]entryError, len(failed))
	for _, f := range failed {
		refused[f.index] = f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, h := range batch {
		f, isRefused := refused[i]
		switch {
		case h.handle != handles[i]:
			// Received again meanwhile: SQS may call a delete with the older handle a success and
			// do nothing.
			c.deleteAgain(h)
		case !isRefused:
			c.drop(h)
			if h.deleted != nil {
				h.deleted()
			}
		case f.gone, h.attempts+1 >= maxDeleteAttempts:
			c.log.Warn("a committed message cannot be deleted: if it comes back it is dropped as a duplicate",
				"message_id", h.id, "code", f.code)
			c.drop(h)
		default:
			h.attempts++
			c.deleteAgain(h)
		}
	}
	return len(failed) == 0
}

// deleteAgain puts a message back among those to be deleted. The lock is held.
func (c *Consumer) deleteAgain(h *hold) {
	c.done = append(c.done, h)
	c.ready.Signal()
}

// handles are the newest receipt handles of a batch.
func (c *Consumer) handles(batch []*hold) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	handles := make([]string, len(batch))
	for i, h := range batch {
		handles[i] = h.handle
	}
	return handles
}
