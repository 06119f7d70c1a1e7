package etl

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Options tune a run. Zero fields take the defaults named beside them.
type Options struct {
	Receivers  int           // most goroutines that call Receive, of each source: 1
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
	// Holding is told of each try that failed while the database, the KEK or a body's store was away or a clock was
	// wrong, and Resumed once nothing that does the same waits any more; both may be nil.
	Holding func(doing string, err error)
	Resumed func(doing string)
}

// Observer is told of what a run does: for metrics and progress. input is the name of the input.
type Observer interface {
	Received(input string, messages int)
	// BatchCommitted: took is the time from the first try to load it to its commit.
	BatchCommitted(input string, messages []*Message, took time.Duration, c Counts)
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

// Summary is what a run did. Received = Stored + Duplicates + Rejected + Ignored + Abandoned.
type Summary struct {
	Received   int64            `json:"received"`
	Stored     int64            `json:"stored"`
	Duplicates int64            `json:"duplicates"`
	Rejected   int64            `json:"rejected"`
	Rejections map[Reason]int64 `json:"rejections"`
	// Ignored were no events, and are deleted: what S3 sends when notifications are set up.
	Ignored int64 `json:"ignored"`
	// Abandoned were received and not committed, because the run was stopped or gave up. Their
	// source still has them.
	Abandoned int64 `json:"abandoned"`
	// MembersDropped counts optional members that are NULL because they could not be read.
	MembersDropped int64   `json:"members_dropped"`
	Seconds        float64 `json:"seconds"`
	// Queues are the same counts for each input, if there are several.
	Queues []InputSummary `json:"queues,omitempty"`
	// Details are the rejections and the dropped members by dataset, reason and member. Only DryRun fills them.
	Details []Detail `json:"details,omitempty"`
}

// InputSummary is what a run did with one of several inputs.
type InputSummary struct {
	Queue string `json:"queue"`
	Summary
}

// uncommitted is how many events were received and are not committed.
func (s *Summary) uncommitted() int64 {
	return s.Received - s.Stored - s.Duplicates - s.Rejected - s.Ignored
}

// finished is a copy with what follows from the counts.
func (s *Summary) finished(began time.Time) Summary {
	out := *s
	out.Rejections = maps.Clone(s.Rejections)
	out.Abandoned = s.uncommitted()
	out.Seconds = time.Since(began).Seconds()
	return out
}

// add counts a batch that was committed.
func (s *Summary) add(c *Counts) {
	s.Stored += c.Stored
	s.Duplicates += c.Duplicates
	s.Ignored += c.Ignored
	for reason, n := range c.Rejections {
		s.Rejections[reason] += n
		s.Rejected += n
	}
	for _, n := range c.Dropped {
		s.MembersDropped += n
	}
}

func newSummary() Summary { return Summary{Rejections: map[Reason]int64{}} }

type run struct {
	Options
	writer  *Writer
	lanes   []*lane
	outages outages

	mu      sync.Mutex
	summary Summary
}

// Run moves events from a source into the database until the source ends or ctx does: RunInputs of one input, as the
// writer was made for.
func Run(ctx context.Context, w *Writer, source Source, o Options) (Summary, error) {
	return RunInputs(ctx, w, []Input{w.Input(source)}, o)
}

// RunInputs moves events from all inputs into the database until each has ended or ctx does. When ctx ends
// it stops receiving and commits what it has in hand, within Options.Grace.
//
// An input that fails ends alone: the others go on to their end. It returns an error if a source failed or an outage
// outlasted Options.MaxOutage (ErrGaveUp). It returns none if ctx ended, even if the grace was too short:
// Summary.Abandoned tells. The summary is true in any case.
func RunInputs(ctx context.Context, w *Writer, inputs []Input, o Options) (Summary, error) {
	r, err := newRun(w, inputs, o)
	if err != nil {
		return newSummary(), err
	}
	began := time.Now()
	err = r.run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return r.finished(began), err
}

func newRun(w *Writer, inputs []Input, o Options) (*run, error) {
	if err := w.checkInputs(inputs); err != nil {
		return nil, err
	}
	r := &run{Options: o.withDefaults(), writer: w, summary: newSummary()}
	for _, in := range inputs {
		r.lanes = append(r.lanes, &lane{
			run: r, Input: in, done: newSummary(), envelopes: rate.Sometimes{Interval: LogEvery},
		})
	}
	return r, nil
}

func (r *run) finished(began time.Time) Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.summary.finished(began)
	if len(r.lanes) > 1 {
		for _, l := range r.lanes {
			s.Queues = append(s.Queues, InputSummary{Queue: l.Name, Summary: l.done.finished(began)})
		}
	}
	return s
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

	batches := make(chan parcel)
	protected := make(chan sealedParcel, r.Loaders)

	// A source that fails ends receiving from it, not the stages: what it handed over before is committed.
	sourceErrs, unwrapErrs := make([]error, len(r.lanes)), make([]error, len(r.lanes))
	var collectors errgroup.Group
	for i, l := range r.lanes {
		received := make(chan []*Message, r.Receivers)
		own, stop := context.WithCancel(receiving)
		defer stop()
		stages.Go(func() error {
			defer close(received)
			sourceErrs[i] = l.named(l.receiveAll(own, stop, work, received))
			return nil
		})
		opened := received
		if l.Unwrap != nil {
			opened = make(chan []*Message)
			stages.Go(func() error {
				defer close(opened)
				unwrapErrs[i] = l.named(l.unpack(work, stop, received, opened))
				return nil
			})
		}
		collectors.Go(func() error { return l.collect(work, opened, batches) })
	}
	stages.Go(func() error {
		defer close(batches)
		return collectors.Wait()
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
	return errors.Join(append(sourceErrs, unwrapErrs...)...)
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

// sealedParcel is a batch that is ready to be loaded.
type sealedParcel struct {
	*lane
	batch *Batch
}

func (r *run) protect(ctx context.Context, in <-chan parcel, out chan<- sealedParcel) error {
	p := NewProtector(r.writer)
	for received := range in {
		b, err := received.protectBatch(ctx, p, received.messages, nothingRefused)
		if err != nil {
			return err
		}
		select {
		case out <- sealedParcel{received.lane, b}:
		case <-ctx.Done():
			b.Release()
			return ctx.Err()
		}
	}
	return nil
}

func (r *run) load(ctx context.Context, in <-chan sealedParcel) error {
	d := delivery{loader: NewLoader(r.writer), protector: NewProtector(r.writer)}
	defer d.loader.Close()
	for sealed := range in {
		d.lane = sealed.lane
		if err := d.deliver(ctx, sealed.batch, nothingRefused); err != nil {
			return err
		}
	}
	return nil
}

// committed counts a batch and tells the source.
func (l *lane) committed(messages []*Message, took time.Duration, c Counts) {
	l.count(func(s *Summary) { s.add(&c) })
	if c.RejectedBefore > 0 {
		// Nobody says which: the objects of all are kept, because the replay of a rejection reads them.
		for _, m := range messages {
			m.rejected = true
		}
	}
	if c.Rejections[Enveloped] > 0 {
		l.envelopes.Do(func() {
			l.Log.Warn("messages are rejected because they are envelopes: ingest rejections names the setting that "+
				"opens them", "messages", c.Rejections[Enveloped], "queue", l.Name)
		})
	}
	if l.Observe != nil {
		l.Observe.BatchCommitted(l.Name, messages, took, c)
	}
	if source, ok := l.Source.(Committer); ok {
		source.Committed(messages)
	}
}

// held is how many events were received and are not committed.
func (r *run) held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.summary.uncommitted()
}
