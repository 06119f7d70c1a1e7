package source

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/time/rate"

	"cloakroom/etl"
	"cloakroom/etl/unwrap"
	"cloakroom/internal/retry"
)

// ObjectDeleter deletes objects of S3. One that is not there is no error.
type ObjectDeleter interface {
	Delete(ctx context.Context, bucket, key string) error
}

const (
	// objectDeleters is how many deletes are made at once.
	objectDeleters = 16
	// maxPending is how many objects may wait to be deleted while S3 is away. What is beyond it stays in S3, which a
	// lifecycle rule must end.
	maxPending = 10_000
)

// deletions deletes objects whose events are rows and whose messages are gone. A process that is killed leaves some.
type deletions struct {
	store   ObjectDeleter
	log     *slog.Logger
	stop    context.CancelFunc
	workers sync.WaitGroup
	failing rate.Sometimes

	mu      sync.Mutex
	pending []unwrap.Pointer
	ready   *sync.Cond // pending grew, or no more will come
	ended   bool
	left    int // that stay in S3
}

func newDeletions(store ObjectDeleter, log *slog.Logger) *deletions {
	d := &deletions{store: store, log: log, failing: rate.Sometimes{Interval: etl.LogEvery}}
	d.ready = sync.NewCond(&d.mu)
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	for range objectDeleters {
		d.workers.Go(func() { d.work(ctx) })
	}
	return d
}

// add takes an object on. It does not block.
func (d *deletions) add(at unwrap.Pointer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) >= maxPending {
		d.left++
		return
	}
	d.pending = append(d.pending, at)
	d.ready.Signal()
}

func (d *deletions) next() (at unwrap.Pointer, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.pending) == 0 {
		if d.ended {
			return at, false
		}
		d.ready.Wait()
	}
	at = d.pending[0]
	d.pending = d.pending[1:]
	return at, true
}

// work deletes objects. One that fails goes behind the others: an object that may not be deleted holds up none.
func (d *deletions) work(ctx context.Context) {
	pause := retry.Pauses{First: pauseFirst, Max: pauseMax}.Pacer()
	for {
		at, ok := d.next()
		if !ok {
			return
		}
		err := d.store.Delete(ctx, at.Bucket, at.Key)
		if err == nil {
			pause.Reset()
			continue
		}
		if d.failed(ctx, at) {
			d.failing.Do(func() {
				d.log.Warn("deleting the objects of stored events fails: trying again; until then they lie in S3 "+
					"in clear", "error", err)
			})
			_ = retry.Sleep(ctx, pause.Next()) // once ctx has ended, the next try says so
		}
	}
}

// failed puts an object back, and reports false if it is not tried again because ctx has ended.
func (d *deletions) failed(ctx context.Context, at unwrap.Pointer) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		d.left++
		return false
	}
	d.pending = append(d.pending, at)
	return true
}

// close deletes what is left to delete, within ctx, and says what stays.
func (d *deletions) close(ctx context.Context) {
	defer context.AfterFunc(ctx, d.stop)()
	d.mu.Lock()
	d.ended = true
	d.ready.Broadcast()
	d.mu.Unlock()
	d.workers.Wait()
	d.stop()
	if d.left > 0 {
		d.log.Warn("objects of stored events stay in S3 in clear: a lifecycle rule of the bucket must end them",
			"objects", d.left)
	}
}
