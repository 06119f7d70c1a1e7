package queue

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// concurrentExtensions bounds the heartbeat's calls under way.
const concurrentExtensions = 8

// beat extends the visibility of what is held, until ctx ends.
func (c *Consumer) beat(ctx context.Context) {
	every := max(c.queue.config.Visibility/8, 100*time.Millisecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.extend(ctx, c.due(every))
		}
	}
}

// due lists what will pass half of its visibility before the next beat. What has been held too long is left to become
// visible: a message that nobody can process must reach the dead-letter queue.
func (c *Consumer) due(every time.Duration) []*hold {
	now := time.Now()
	half := c.queue.config.Visibility / 2
	c.mu.Lock()
	defer c.mu.Unlock()
	var due []*hold
	for _, h := range c.held {
		if h.expires.Add(-half).Before(now.Add(every)) && now.Add(c.queue.config.Visibility).Sub(h.first) <= c.queue.config.MaxHold {
			due = append(due, h)
		}
	}
	return due
}

func (c *Consumer) extend(ctx context.Context, due []*hold) {
	var group errgroup.Group
	group.SetLimit(concurrentExtensions)
	for len(due) > 0 {
		n := min(maxBatch, len(due))
		batch := due[:n]
		due = due[n:]
		group.Go(func() error {
			c.extendBatch(ctx, batch)
			return nil
		})
	}
	_ = group.Wait() // the batches report by themselves
}

func (c *Consumer) extendBatch(ctx context.Context, batch []*hold) {
	handles := make([]string, len(batch))
	c.mu.Lock()
	for i, h := range batch {
		handles[i] = h.handle
	}
	c.mu.Unlock()
	asked := time.Now()
	failed, err := c.queue.changeBatch(ctx, handles, c.queue.config.Visibility)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.log.Warn("extending visibility failed: trying again", "error", err, "messages", len(batch))
		c.observeExtended(0, len(batch))
		return
	}
	c.observeExtended(len(batch)-len(failed), len(failed))
	bad := map[int]bool{}
	for _, f := range failed {
		bad[f.index] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, h := range batch {
		if !bad[i] {
			h.expires = asked.Add(c.queue.config.Visibility)
		}
	}
}

func (c *Consumer) observeExtended(extended, failed int) {
	if o := c.queue.config.Observe; o != nil {
		o.Extended(extended, failed)
	}
}
