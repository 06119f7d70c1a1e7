package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Consumer receives from a queue, holds what it received, and deletes what is done. Start it with Consume, end it with
// Close.
type Consumer struct {
	queue *Queue
	log   *slog.Logger
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu    sync.Mutex
	held  map[string]*hold // by message id
	count int              // messages held or being deleted
	bytes int64
	room  *sync.Cond // signalled when something was let go, or the consumer closes
	done  []*hold    // to be deleted
	ready *sync.Cond // signalled when done grows, or nothing more is to be deleted

	deleting int  // of those held: done, and not yet deleted
	ended    bool // Close was called
	stopped  bool // Close waits no longer
}

// hold is a message between its receipt and its deletion.
type hold struct {
	id       string
	handle   string // the newest: a redelivery makes the older ones useless
	size     int64
	first    time.Time // of receipt
	expires  time.Time // when it becomes visible to others, as far as we know
	deleting bool
	attempts int
}

// Consume starts a consumer: a heartbeat, and Config.Deleters deleters.
func (q *Queue) Consume(log *slog.Logger) *Consumer {
	ctx, stop := context.WithCancel(context.Background())
	c := &Consumer{queue: q, log: log, stop: stop, held: map[string]*hold{}}
	c.room, c.ready = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	c.tasks.Go(func() { c.beat(ctx) })
	for range q.config.Deleters {
		c.tasks.Go(func() { c.deleteLoop(ctx) })
	}
	return c
}

// Receive waits for room, then polls once for up to wait (0: Config.Wait). It may return no message.
func (c *Consumer) Receive(ctx context.Context, wait time.Duration) ([]*Message, error) {
	if wait == 0 {
		wait = c.queue.config.Wait
	}
	if !c.waitForRoom(ctx) {
		return nil, ctx.Err()
	}
	// Visibility counts from when SQS answers, which is no earlier than the call and no later than its answer.
	asked := time.Now()
	messages, err := c.queue.receive(ctx, wait)
	if len(messages) > 0 {
		c.take(messages, asked)
	}
	return messages, err
}

func (c *Consumer) waitForRoom(ctx context.Context) bool {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.room.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for ctx.Err() == nil && !c.ended && c.full() {
		c.room.Wait()
	}
	return ctx.Err() == nil && !c.ended
}

// full: as much is held as may be. The lock is held.
func (c *Consumer) full() bool {
	return c.count >= c.queue.config.MaxHeld || c.bytes >= c.queue.config.MaxBytes
}

// Full reports that as much is held as may be, so that nothing more is received.
func (c *Consumer) Full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full()
}

// take holds what was received. A message that is held already was delivered again: its newest handle counts.
func (c *Consumer) take(messages []*Message, asked time.Time) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		h := c.held[m.ID]
		if h == nil {
			h = &hold{id: m.ID, first: now, size: int64(len(m.Body))}
			c.held[m.ID] = h
			c.count++
			c.bytes += h.size
		}
		h.handle = m.handle
		h.expires = asked.Add(c.queue.config.Visibility)
	}
}

// Done says that messages are committed: they are deleted, soon, in batches.
func (c *Consumer) Done(messages []*Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		h := c.held[m.ID]
		if h == nil || h.deleting {
			continue // a second delivery of a message that is deleted by now, or will be
		}
		h.deleting = true
		c.deleting++
		c.done = append(c.done, h)
	}
	c.ready.Broadcast()
}

// Held is how many messages are held or being deleted.
func (c *Consumer) Held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// drop lets a message go. The lock is held.
func (c *Consumer) drop(h *hold) {
	if c.held[h.id] != h {
		return
	}
	delete(c.held, h.id)
	c.count--
	c.bytes -= h.size
	if h.deleting {
		c.deleting--
	}
	if c.deleting == 0 {
		c.ready.Broadcast()
	}
	c.room.Broadcast()
}

// Close deletes what is done, makes the rest visible at once for others, and ends the consumer's goroutines, all within
// ctx. It returns how many messages it could not delete and how many it gave back.
func (c *Consumer) Close(ctx context.Context) (undeleted, released int) {
	c.mu.Lock()
	c.ended = true
	c.ready.Broadcast()
	c.room.Broadcast()
	c.mu.Unlock()
	// The deleters end when nothing is left to delete; past ctx they are told to.
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stopped = true
		c.room.Broadcast()
		c.ready.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	for c.deleting > 0 && !c.stopped {
		c.room.Wait()
	}
	c.stopped = true
	c.ready.Broadcast()
	c.mu.Unlock()
	c.stop()
	c.tasks.Wait()

	c.mu.Lock()
	var back []*hold
	for _, h := range c.held {
		if h.deleting {
			undeleted++
			continue
		}
		back = append(back, h)
	}
	c.mu.Unlock()
	return undeleted, c.release(ctx, back)
}

// release makes messages visible at once.
func (c *Consumer) release(ctx context.Context, holds []*hold) (released int) {
	for len(holds) > 0 {
		n := min(maxBatch, len(holds))
		handles := make([]string, n)
		for i, h := range holds[:n] {
			handles[i] = h.handle
		}
		failed, err := c.queue.changeBatch(ctx, handles, 0)
		if err != nil {
			c.log.Warn("releasing messages failed: they come back after their visibility timeout", "error", err, "messages", len(holds))
			return released
		}
		released += n - len(failed)
		holds = holds[n:]
	}
	return released
}
