package queue

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxDeleteAttempts bounds how often one message's delete is tried. A message that stays comes back after its
// visibility timeout and is dropped as a duplicate: late, not lost.
const maxDeleteAttempts = 20

// linger is how long a deleter waits for a batch to fill.
const linger = 5 * time.Millisecond

func (c *Consumer) deleteLoop(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 100 * time.Millisecond
	pause.MaxInterval = 5 * time.Second
	for {
		batch := c.nextDeletes()
		if batch == nil {
			return
		}
		if c.deleteHolds(ctx, batch) {
			pause.Reset()
			continue
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

// nextDeletes waits for up to 10 messages to delete. It returns nil when the consumer has ended and nothing is left, or
// Close waits no longer.
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

// deleteHolds deletes a batch. What failed goes back to the queue of deletes. It reports whether all went well.
func (c *Consumer) deleteHolds(ctx context.Context, batch []*hold) bool {
	handles := make([]string, len(batch))
	c.mu.Lock()
	for i, h := range batch {
		handles[i] = h.handle
	}
	c.mu.Unlock()
	failed, err := c.queue.deleteBatch(ctx, handles)
	if err != nil {
		failed = nil
		for i := range batch {
			failed = append(failed, entryError{index: i, code: "CallFailed"})
		}
		if ctx.Err() == nil {
			c.log.Warn("deleting messages failed: trying again", "error", err, "messages", len(batch))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	bad := map[int]entryError{}
	for _, f := range failed {
		bad[f.index] = f
	}
	for i, h := range batch {
		f, isBad := bad[i]
		switch {
		case !isBad:
			c.drop(h)
		case f.gone && h.handle == handles[i], h.attempts+1 >= maxDeleteAttempts:
			c.log.Warn("a message cannot be deleted: it will come back and be dropped as a duplicate", "message_id", h.id, "code", f.code)
			c.drop(h)
		default:
			h.attempts++
			c.done = append(c.done, h)
			c.ready.Signal()
		}
	}
	return len(failed) == 0
}
