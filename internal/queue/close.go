package queue

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Close deletes what is done, makes the rest visible at once for others, and ends the consumer's
// goroutines, all within ctx. It returns how many messages it could not delete and how many it gave
// back. Nothing may be received or done any more when it is called.
func (c *Consumer) Close(ctx context.Context) (undeleted, released int) {
	// No beat may hide again what is given back.
	c.stopBeat()
	c.beating.Wait()
	back := c.end()

	// Side by side: a queue that refuses deletes must not use up the time in which messages are
	// given back.
	var releasing errgroup.Group
	releasing.Go(func() error {
		released = c.release(ctx, back)
		return nil
	})
	c.finishDeletes(ctx)
	_ = releasing.Wait() // reports by itself
	c.queue.closeIdle()

	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deleting, released
}

// end closes the consumer to new messages, and lets go of those that are not done.
func (c *Consumer) end() []*hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	var back []*hold
	for _, h := range c.held {
		if !h.deleting {
			back = append(back, h)
		}
	}
	for _, h := range back {
		c.drop(h)
	}
	c.ready.Broadcast()
	c.room.Broadcast()
	return back
}

// finishDeletes waits until nothing is left to delete, but no longer than ctx, and ends the
// deleters.
func (c *Consumer) finishDeletes(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stopped = true
		c.room.Broadcast()
	})()
	c.mu.Lock()
	for c.deleting > 0 && !c.stopped {
		c.room.Wait()
	}
	c.stopped = true
	c.ready.Broadcast()
	c.mu.Unlock()
	c.stopDeletes()
	c.deleters.Wait()
}

// release makes messages visible at once.
func (c *Consumer) release(ctx context.Context, holds []*hold) int {
	var released atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrentExtensions)
	for len(holds) > 0 {
		n := min(maxBatch, len(holds))
		batch := holds[:n]
		holds = holds[n:]
		group.Go(func() error {
			handles := make([]string, len(batch))
			for i, h := range batch {
				handles[i] = h.handle
			}
			failed, err := c.queue.changeBatch(ctx, handles, 0)
			if err == nil {
				released.Add(int64(len(batch) - len(failed)))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		c.log.Warn("giving messages back failed: they come back after their visibility timeout", "error", err)
	}
	return int(released.Load())
}
