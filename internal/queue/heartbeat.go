package queue

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
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

// due lists what will pass half of its visibility before the next beat, the most urgent first. What
// has been held longer than MaxHold is left to become visible: a message that nobody can process
// must reach the dead-letter queue.
func (c *Consumer) due(every time.Duration) []*hold {
	type urgent struct {
		*hold
		expires time.Time
	}
	now := time.Now()
	visibility := c.queue.config.Visibility
	c.mu.Lock()
	var list []urgent
	for _, h := range c.held {
		soon := h.expires.Add(-visibility / 2).Before(now.Add(every))
		if soon && !h.lost && now.Add(visibility).Sub(h.first) <= c.queue.config.MaxHold {
			list = append(list, urgent{h, h.expires})
		}
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b urgent) int { return a.expires.Compare(b.expires) })
	due := make([]*hold, len(list))
	for i, u := range list {
		due[i] = u.hold
	}
	return due
}

// extend extends what is due. A call that fails as a whole ends the round: the next beat begins
// with what is then the most urgent.
func (c *Consumer) extend(ctx context.Context, due []*hold) {
	group, round := errgroup.WithContext(ctx)
	group.SetLimit(concurrentExtensions)
	for len(due) > 0 && round.Err() == nil {
		n := min(maxBatch, len(due))
		batch := due[:n]
		due = due[n:]
		group.Go(func() error { return c.extendBatch(round, batch) })
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		c.extendLog.Do(func() {
			c.log.Warn("extending visibility failed: trying again at the next beat", "error", err)
		})
	}
}

// extendTimeout bounds one call. One that hangs must leave time for another before the messages are
// visible.
func (c *Consumer) extendTimeout() time.Duration {
	return min(callTimeout, max(c.queue.config.Visibility/4, time.Second))
}

func (c *Consumer) extendBatch(round context.Context, batch []*hold) error {
	ctx, cancel := context.WithTimeout(round, c.extendTimeout())
	defer cancel()
	handles := c.handles(batch)
	asked := time.Now()
	failed, err := c.queue.changeBatch(ctx, handles, c.queue.config.Visibility)
	switch {
	case round.Err() != nil:
		return nil // the consumer ended, or another batch's failure ended the round
	case err != nil:
		c.observeExtended(0, len(batch))
		return err
	}
	c.observeExtended(len(batch)-len(failed), len(failed))
	refused := make(map[int]entryError, len(failed))
	for _, f := range failed {
		refused[f.index] = f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, h := range batch {
		f, isRefused := refused[i]
		switch {
		case !isRefused:
			h.expires = asked.Add(c.queue.config.Visibility)
		case f.gone && h.handle == handles[i]:
			h.lost = true // somebody else has it, or will
		}
	}
	return nil
}

func (c *Consumer) observeExtended(extended, failed int) {
	if o := c.queue.config.Observe; o != nil {
		o.Extended(extended, failed)
	}
}

// changeBatch sets the visibility of up to 10 messages, from now, and says which entries failed.
func (q *Queue) changeBatch(ctx context.Context, handles []string, visibility time.Duration) ([]entryError, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	seconds := int32(visibility.Seconds())
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(handles))
	for i := range handles {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id: &ids[i], ReceiptHandle: &handles[i], VisibilityTimeout: seconds,
		}
	}
	began := time.Now()
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.config.URL, Entries: entries}
	out, err := q.heartbeat.ChangeMessageVisibilityBatch(ctx, in)
	q.observe("ChangeMessageVisibilityBatch", err, began)
	if err != nil {
		return nil, explain("extending visibility", err)
	}
	confirmed := make([]bool, len(handles))
	for _, s := range out.Successful {
		if i, ok := indexOf(s.Id, len(handles)); ok {
			confirmed[i] = true
		}
	}
	return failures(confirmed, out.Failed), nil
}
