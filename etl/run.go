package etl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Source hands over events. Receive returns the next ones, waiting for them if need be; io.EOF means that there are no
// more. After a Receive fails with another error, Run commits what it has in hand and ends.
//
// It is called from up to Options.Receivers goroutines at once.
type Source interface {
	Receive(ctx context.Context) ([]*Message, error)
}

// Committer is a source that wants to know which of its events are committed, to delete them from a queue. It does not
// block for long: it is called by the loaders.
type Committer interface {
	Committed(messages []*Message)
}

// Options tune a run. Zero fields take the defaults named beside them.
type Options struct {
	Receivers  int           // goroutines calling Receive at the most: 1
	Protectors int           // goroutines that decode and seal: GOMAXPROCS
	Loaders    int           // database connections that load: 2
	BatchRows  int           // events in a batch at the most: 2000
	BatchBytes int           // body bytes in a batch, unless one event is larger: 8 MiB
	BatchDelay time.Duration // a batch waits so long for more events: 100 ms
	Grace      time.Duration // after ctx ends, what was received is committed within this: 25 s
	// MaxOutage is how long the database or the KEK may be away before the run gives up; 0: for ever.
	MaxOutage time.Duration
	Log       *slog.Logger // slog.Default
	Observe   Observer     // told of each batch; may be nil
	// Holding is told of each try that failed while the database or the KEK was away; may be nil.
	Holding func(doing string, err error)
}

// Observer is told of what a run does: for metrics and progress.
type Observer interface {
	Received(messages int)
	// BatchCommitted: took is the time from the first try to load it to its commit.
	BatchCommitted(messages []*Message, took time.Duration, c Counts)
}

func (o Options) withDefaults() Options {
	setDefault(&o.Receivers, 1)
	setDefault(&o.Protectors, runtime.GOMAXPROCS(0))
	setDefault(&o.Loaders, 2)
	setDefault(&o.BatchRows, 2000)
	setDefault(&o.BatchBytes, 8<<20)
	setDefault(&o.BatchDelay, 100*time.Millisecond)
	setDefault(&o.Grace, 25*time.Second)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Summary is what a run did. Received = Stored + Duplicates + Rejected + Abandoned.
type Summary struct {
	Received   int64            `json:"received"`
	Stored     int64            `json:"stored"`
	Duplicates int64            `json:"duplicates"`
	Rejected   int64            `json:"rejected"`
	Rejections map[Reason]int64 `json:"rejections"`
	// Abandoned were received and not committed, because the run was ended or gave up. Their source still has them.
	Abandoned int64   `json:"abandoned"`
	Seconds   float64 `json:"seconds"`
}

type run struct {
	Options
	writer *Writer
	source Source

	mu      sync.Mutex
	summary Summary
}

// Run moves events from a source into the database until the source ends or ctx does. When ctx ends it stops
// receiving and commits what it has in hand, within Options.Grace.
//
// It returns an error where the source failed or an outage outlasted Options.MaxOutage, and none where ctx ended, even if
// the grace was too short: Summary.Abandoned tells. The summary is true in any case.
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

// run is the pipeline. Each stage closes its output when its input has ended, so that what was received drains.
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
	protected := make(chan *batch, r.Loaders)

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

// afterGrace is a context that outlives ctx by a time in which what was begun is finished.
func afterGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return work, func() {
		stop()
		cancel()
	}
}

// collect groups messages into batches: full, or as old as BatchDelay, or the last.
func (r *run) collect(ctx context.Context, in <-chan []*Message, out chan<- []*Message) error {
	var batch []*Message
	size := 0
	timer := time.NewTimer(r.BatchDelay)
	timer.Stop()
	defer timer.Stop()
	flush := func() error {
		timer.Stop()
		if len(batch) == 0 {
			return nil
		}
		select {
		case out <- batch:
			batch, size = nil, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		select {
		case messages, open := <-in:
			if !open {
				return flush()
			}
			for _, m := range messages {
				if size+len(m.Body) > r.BatchBytes {
					if err := flush(); err != nil {
						return err
					}
				}
				if len(batch) == 0 {
					timer.Reset(r.BatchDelay)
				}
				batch = append(batch, m)
				size += len(m.Body)
				if len(batch) >= r.BatchRows {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		case <-timer.C:
			if err := flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *run) protect(ctx context.Context, in <-chan []*Message, out chan<- *batch) error {
	p := newProtector(r.writer)
	for messages := range in {
		b, err := r.protectBatch(ctx, p, messages, nothingRefused)
		if err != nil {
			return err
		}
		select {
		case out <- b:
		case <-ctx.Done():
			b.release()
			return ctx.Err()
		}
	}
	return nil
}

func (r *run) load(ctx context.Context, in <-chan *batch) error {
	d := delivery{run: r, loader: &loader{vault: r.writer.vault}, protector: newProtector(r.writer)}
	defer d.loader.close()
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
	r.mu.Unlock()
	if r.Observe != nil {
		r.Observe.BatchCommitted(messages, took, c)
	}
	if source, ok := r.source.(Committer); ok {
		source.Committed(messages)
	}
}

// ErrGaveUp reports an outage that lasted longer than Options.MaxOutage. Nothing is lost: what was not committed is
// still at its source.
var ErrGaveUp = errors.New("gave up")

func gaveUp(err error, after time.Duration) error {
	return fmt.Errorf("%w after %v: %w", ErrGaveUp, after.Round(time.Second), err)
}
