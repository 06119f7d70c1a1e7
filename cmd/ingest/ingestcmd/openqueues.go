package ingestcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"cloakroom/etl"
	"cloakroom/etl/metrics"
	"cloakroom/etl/source"
	"cloakroom/internal/objects"
	"cloakroom/internal/queue"
)

// openQueue is a queue that is read.
type openQueue struct {
	*feed
	queue  *queue.Queue
	source *source.SQS
}

// openQueues are all of them.
type openQueues []*openQueue

func (all openQueues) feeds() (feeds []feed) {
	for _, q := range all {
		feeds = append(feeds, *q.feed)
	}
	return feeds
}

// openQueues prepares the clients. It makes no call.
func (s *settings) openQueues(ctx context.Context, feeds []feed, m *metrics.Metrics) (openQueues, error) {
	var all openQueues
	for i := range feeds {
		f := &feeds[i]
		config := s.queueConfig(*f, len(feeds))
		config.Observe = m.Queue(f.name)
		q, err := queue.Open(ctx, config)
		if err != nil {
			return nil, err
		}
		all = append(all, &openQueue{feed: f, queue: q})
	}
	return all, nil
}

// reach asks each queue whether it is there. One that is not there, or not ours, is said now: a daemon would wait for
// it without end. A daemon with several goes on with those that answer, since a restart must not stop them all.
func (all openQueues) reach(ctx context.Context, daemon bool) error {
	var failures []error
	for _, q := range all {
		if _, err := q.queue.Attributes(ctx); err != nil {
			failures = append(failures, q.named(err, len(all)))
		}
	}
	if !daemon || len(failures) == len(all) {
		return errors.Join(failures...)
	}
	for _, err := range failures {
		slog.Error("a queue does not answer: reading the others, and trying it again", "error", err)
	}
	return ctx.Err()
}

func (f feed) named(err error, of int) error {
	if of == 1 {
		return err
	}
	return fmt.Errorf("%s: %w", f.where(of), err)
}

// consume starts to hold messages.
func (all openQueues) consume(o source.SQSOptions, m *metrics.Metrics) {
	for _, q := range all {
		o.Log = slog.Default()
		if len(all) > 1 {
			o.Log = o.Log.With("queue", q.name)
		}
		q.source = source.NewSQS(q.queue, o)
		m.Queue(q.name).Held(q.source.Held)
	}
}

func (all openQueues) inputs(s *settings, store *objects.Client) []etl.Input {
	var sources []etl.Source
	for _, q := range all {
		sources = append(sources, q.source)
	}
	return s.inputs(all.feeds(), store, sources...)
}

// polled are what health looks at, by name.
func (all openQueues) polled() map[string]polled {
	sources := map[string]polled{}
	for _, q := range all {
		sources[q.name] = q.source
	}
	return sources
}

func (all openQueues) held() (n int) {
	for _, q := range all {
		n += q.source.Held()
	}
	return n
}

// close deletes what is committed and gives back the rest, although the process may have been
// asked to stop. A queue that is away does not take the time of another.
func (all openQueues) close(ctx context.Context) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	var group sync.WaitGroup
	for _, q := range all {
		group.Go(func() { q.source.Close(closing) })
	}
	group.Wait()
}
