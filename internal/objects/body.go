package objects

import (
	"context"
	"fmt"
	"io"
	"time"
)

// watchdog cancels a call's context when a step of it takes longer than callTimeout. Between steps nothing is timed: a
// slow reader is not the service's fault.
type watchdog struct {
	timer  *time.Timer
	cancel context.CancelFunc
}

func watch(ctx context.Context) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{cancel: func() { cancel(context.Canceled) }}
	w.timer = time.AfterFunc(callTimeout, func() { cancel(context.DeadlineExceeded) })
	w.timer.Stop()
	return ctx, w
}

func (w *watchdog) start() { w.timer.Reset(callTimeout) }

// stop reports whether the step was in time.
func (w *watchdog) stop() bool { return w.timer.Stop() }

// body is an object's bytes on their way.
type body struct {
	in     io.ReadCloser
	watch  *watchdog
	ctx    context.Context
	bucket string
	left   int64 // bytes that are still to come
}

// Read gives io.EOF at the object's end alone: a body that ends early is an outage.
func (b *body) Read(p []byte) (int, error) {
	b.watch.start()
	n, err := b.in.Read(p)
	b.watch.stop()
	b.left -= int64(n)
	switch {
	case err == nil, err == io.EOF && b.left <= 0:
		return n, err
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, explain("reading an object of "+b.bucket, "s3:GetObject", b.ctx, err)
}

func (b *body) Close() error {
	b.watch.stop()
	b.watch.cancel()
	if err := b.in.Close(); err != nil {
		return fmt.Errorf("closing an object of %s: %w", b.bucket, err)
	}
	return nil
}
