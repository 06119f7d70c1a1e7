package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Consumer receives from a queue, holds what it received, and deletes what is done. Start it with
// Consume, end it with Close.
type Consumer struct {
	queue *Queue
	log   *slog.Logger

	stopBeat, stopDeletes context.CancelFunc
	beating, deleters     sync.WaitGroup
	// What goes on failing is logged once in warnEvery.
	deleteLog, extendLog, damageLog rate.Sometimes

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
	lost     bool      // the handle is no longer valid: nothing can be extended until the message is received again
	deleting bool
	deleted  func() // Message.Deleted
	attempts int    // deletes of this very message that SQS refused
}

// Consume starts a consumer: a heartbeat, and Config.Deleters deleters.
func (q *Queue) Consume(log *slog.Logger) *Consumer {
	c := &Consumer{queue: q, log: log, held: map[string]*hold{}}
	c.deleteLog.Interval, c.extendLog.Interval, c.damageLog.Interval = warnEvery, warnEvery, warnEvery
	c.room, c.ready = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	if q.why != nil {
		log.Info("receiving and deleting through the AWS SDK, which costs more: the direct client lacks a setting",
			"setting", q.why)
	}
	var beats, deletes context.Context
	beats, c.stopBeat = context.WithCancel(context.Background())
	deletes, c.stopDeletes = context.WithCancel(context.Background())
	c.beating.Go(func() { c.beat(beats) })
	for range q.config.Deleters {
		c.deleters.Go(func() { c.deleteLoop(deletes) })
	}
	return c
}

// warnEvery is how often a failure that goes on is logged.
const warnEvery = 30 * time.Second

var errClosed = errors.New("receiving messages: the consumer is closed")

// pollGrace is how long a poll may go on after its context has ended. What SQS hands over while the
// connection is cut stays invisible with nobody to handle it, and counts as a receive. A busy queue
// answers well within it.
const pollGrace = time.Second

// inGrace is a context that outlives ctx by pollGrace.
func inGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(pollGrace, cancel) })
	return out, func() {
		stop()
		cancel()
	}
}

// Receive waits for room, then polls once for up to wait (0: Config.Wait). It may return no
// message, and it may return messages although ctx has ended meanwhile.
func (c *Consumer) Receive(ctx context.Context, wait time.Duration) ([]*Message, error) {
	if wait == 0 {
		wait = c.queue.config.Wait
	}
	if err := c.waitForRoom(ctx); err != nil {
		return nil, err
	}
	poll, cancel := inGrace(ctx)
	defer cancel()
	// Visibility counts from when SQS answers, which is no earlier than the call and no later than
	// its answer.
	asked := time.Now()
	messages, damaged, err := c.queue.receive(poll, wait)
	if damaged > 0 {
		c.damageLog.Do(func() {
			c.log.Warn("a message arrived damaged: its MD5 is not its body's; it is left to be delivered again",
				"messages", damaged)
		})
	}
	if len(messages) > 0 {
		c.take(messages, asked)
	}
	return messages, err
}

func (c *Consumer) waitForRoom(ctx context.Context) error {
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
	if c.ended {
		return errClosed
	}
	return ctx.Err()
}

// full reports that as much is held as allowed. The lock is held.
func (c *Consumer) full() bool {
	return c.count >= c.queue.config.MaxHeld || c.bytes >= c.queue.config.MaxBytes
}

// Full reports that as much is held as allowed, so that nothing more is received.
func (c *Consumer) Full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full()
}

// take holds what was received. A message that is held already was delivered again: its newest
// handle counts.
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
		h.handle, h.lost = m.handle, false
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
		h.deleting, h.deleted = true, m.Deleted
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
