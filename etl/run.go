package etl

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options tune a run. Zero fields take the defaults named beside them.
type Options struct {
	Receivers  int           // most goroutines that call Receive: 1
	Protectors int           // goroutines that decode and seal: GOMAXPROCS
	Loaders    int           // database connections that load: 2
	BatchRows  int           // most events in a batch: 2000
	BatchBytes int           // most body bytes in a batch, unless one event is larger: 8 MiB
	BatchDelay time.Duration // how long a batch waits for more events: 100 ms
	Grace      time.Duration // how long, after ctx ends, to go on committing what was received: 25 s
	// MaxOutage is how long the database or the KEK may be away before the run gives up; 0: no
	// limit.
	MaxOutage time.Duration
	Log       *slog.Logger // slog.Default
	Observe   Observer     // told of each batch; may be nil
	// Holding is told of each try that failed while the database or the KEK was away or a clock was
	// wrong; may be nil.
	Holding func(doing string, err error)
}

// Observer is told of what a run does: for metrics and progress.
type Observer interface {
	Received(messages int)
	// BatchCommitted: took is the time from the first try to load it to its commit.
	BatchCommitted(messages []*Message, took time.Duration, c Counts)
}

func (o Options) withDefaults() Options {
	o.Receivers = cmp.Or(o.Receivers, 1)
	o.Protectors = cmp.Or(o.Protectors, runtime.GOMAXPROCS(0))
	o.Loaders = cmp.Or(o.Loaders, 2)
	o.BatchRows = cmp.Or(o.BatchRows, 2000)
	o.BatchBytes = cmp.Or(o.BatchBytes, 8<<20)
	o.BatchDelay = cmp.Or(o.BatchDelay, 100*time.Millisecond)
	o.Grace = cmp.Or(o.Grace, 25*time.Second)
	o.Log = cmp.Or(o.Log, slog.Default())
	return o
}

// Summary is what a run did. Received = Stored + Duplicates + Rejected + Abandoned.
type Summary struct {
	Received   int64            `json:"received"`
	Stored     int64            `json:"stored"`
	Duplicates int64            `json:"duplicates"`
	Rejected   int64            `json:"rejected"`
	Rejections map[Reason]int64 `json:"rejections"`
	// Abandoned were received and not committed, because the run was stopped or gave up. Their
	// source still has them.
	Abandoned int64 `json:"abandoned"`
	// MembersDropped counts optional members that are NULL because they could not be read.
	MembersDropped int64   `json:"members_dropped"`
	Seconds        float64 `json:"seconds"`
}

type run struct {
	Options
	writer  *Writer
	source  Source
	outages outages

	mu      sync.Mutex
	summary Summary
}

// Run moves events from a source into the database until the source ends or ctx does. When ctx ends
// it stops receiving and commits what it has in hand, within Options.Grace.
//
// It returns an error if the source failed or an outage outlasted Options.MaxOutage (ErrGaveUp). It
// returns none if ctx ended, even if the grace was too short: Summary.Abandoned tells. The summary
// is true in any case.
func Run(ctx context.Context, w *Writer, source Source, o Options) (Summary, error) {
	r := &run{Options: o.withDefaults(), writer: w, source: source, summary: Summary{Rejections: map[Reason]int64{}}}
	began := time.Now()
	err := r.run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.summary
	s.Rejections = maps.Clone(s.Rejections)
	s.Abandoned = s.Received - s.Stored - s.Duplicates - s.Rejected
	s.Seconds = time.Since(began).Seconds()
	return s, err
}

// run is the pipeline. Each stage closes its output when its input has ended, so that what was
// received drains.
func (r *run) run(ctx context.Context) error {
	work, cancel := afterGrace(ctx, r.Grace)
	defer cancel()
	stages, work := errgroup.WithContext(work)
	// A stage that fails ends receiving, too.
	receiving, stopReceiving := context.WithCancel(ctx)
	defer stopReceiving()
	defer context.AfterFunc(work, stopReceiving)()

	received := make(chan []*Message, r.Receivers)
	batches := make(chan []*Message)
	protected := make(chan *Batch, r.Loaders)

	// A source that fails ends receiving, not the stages: what it handed over before is committed.
	var sourceErr error
	stages.Go(func() error {
		defer close(received)
		sourceErr = r.receiveAll(receiving, stopReceiving, work, received)
		return nil
	})
	stages.Go(func() error {
		defer close(batches)
		return r.collect(work, received, batches)
	})
	var protectors errgroup.Group
	for range r.Protectors {
		protectors.Go(func() error { return r.protect(work, batches, protected) })
	}
	stages.Go(func() error {
		defer close(protected)
		return protectors.Wait()
	})
	for range r.Loaders {
		stages.Go(func() error { return r.load(work, protected) })
	}
	if err := stages.Wait(); err != nil {
		return err
	}
	return sourceErr
}

// afterGrace is a context that outlives ctx by grace, in which what was begun is finished.
func afterGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return work, func() {
		stop()
		cancel()
	}
}

func (r *run) protect(ctx context.Context, in <-chan []*Message, out chan<- *Batch) error {
	p := NewProtector(r.writer)
	for messages := range in {
		b, err := r.protectBatch(ctx, p, messages, nothingRefused)
		if err != nil {
			return err
		}
		select {
		case out <- b:
		case <-ctx.Done():
			b.Release()
			return ctx.Err()
		}
	}
	return nil
}

func (r *run) load(ctx context.Context, in <-chan *Batch) error {
	d := delivery{run: r, loader: NewLoader(r.writer), protector: NewProtector(r.writer)}
	defer d.loader.Close()
	for b := range in {
		if err := d.deliver(ctx, b, nothingRefused); err != nil {
			return err
		}
	}
	return nil
}

// committed counts a batch and tells the source.
func (r *run) committed(messages []*Message, took time.Duration, c Counts) {
	r.mu.Lock()
	r.summary.Stored += c.Stored
	r.summary.Duplicates += c.Duplicates
	for reason, n := range c.Rejections {
		r.summary.Rejections[reason] += n
		r.summary.Rejected += n
	}
	for _, n := range c.Dropped {
		r.summary.MembersDropped += n
	}
	r.mu.Unlock()
	if r.Observe != nil {
		r.Observe.BatchCommitted(messages, took, c)
	}
	if source, ok := r.source.(Committer); ok {
		source.Committed(messages)
	}
}

// held is how many events were received and are not committed.
func (r *run) held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.summary.Received - r.summary.Stored - r.summary.Duplicates - r.summary.Rejected
}

// DryRun decodes events, makes their tokens and counts what would become of them, until the source
// ends. It seals, writes and deletes nothing. Duplicates count as stored: only the database could
// tell.
func DryRun(ctx context.Context, w *Writer, source Source) (Summary, error) {
	s := Summary{Rejections: map[Reason]int64{}}
	p := NewProtector(w)
	if err := p.use(w.current()); err != nil {
		return s, err
	}
	began := time.Now()
	for {
		messages, err := source.Receive(ctx)
		s.Received += int64(len(messages))
		p.assign(messages)
		for _, m := range messages {
			j, err := p.judge(m)
			if err != nil {
				return s, err
			}
			if j.Reason == "" {
				s.Stored++
				s.MembersDropped += int64(len(j.event.Dropped))
				continue
			}
			s.Rejected++
			s.Rejections[j.Reason]++
		}
		s.Seconds = time.Since(began).Seconds()
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return s, nil
		case err != nil:
			return s, err
		}
	}
}
