package ingestcmd

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/etl/metrics"
	"cloakroom/etl/source"
	"cloakroom/internal/queue"
	"cloakroom/keys"
)

// ingestQueue reads the queue: as a daemon, or once until it is empty.
func ingestQueue(cmd *cobra.Command, f *ingestFlags) error {
	ctx := cmd.Context()
	m := metrics.New()
	q, w, v, closeVault, err := openQueue(cmd, f, m)
	switch {
	case err != nil && ctx.Err() != nil && !f.once && !f.dryRun:
		// Told to stop while it started: the call under way failed for that.
		slog.Info("stopped before anything was received")
		return nil
	case err != nil:
		return err
	}
	defer closeVault()

	o := f.options()
	queued := source.NewSQS(q, source.SQSOptions{Once: f.once, DryRun: f.dryRun, OnceWait: f.onceWait, MaxOutage: o.MaxOutage, Log: slog.Default()})
	h := &health{next: m, vault: v, source: queued}
	o.Observe, o.Holding = h, h.hold
	m.Gauges(queued.Held, w.DataKeys)
	stopServing, err := serve(f.httpAddr, m, h)
	if err != nil {
		return err
	}
	defer stopServing()
	stopProgress := showProgress(cmd, &o, queued.Held)
	if !f.once && !f.dryRun {
		slog.Info("ingesting", "queue", f.queueURL, "receivers", f.receivers, "loaders", f.loaders)
	}

	var s etl.Summary
	if f.dryRun {
		s, err = etl.DryRun(ctx, w, queued)
	} else {
		s, err = etl.Run(ctx, w, queued, o)
	}
	stopProgress()
	// The process may have been asked to stop: what is committed is deleted all the same.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	queued.Close(closing)
	if ctx.Err() != nil && err == nil {
		if f.once || f.dryRun {
			return finish(cmd, f, s, errStopped)
		}
		// A daemon that was told to stop, and gave back what it had not committed, has done its work.
		s.Abandoned = 0
	}
	return finish(cmd, f, s, err)
}

// openQueue is openWriter, and the queue it is for.
func openQueue(cmd *cobra.Command, f *ingestFlags, m *metrics.Metrics) (*queue.Queue, *etl.Writer, *keys.Vault, func(), error) {
	config := f.queueConfig()
	config.Observe = m
	q, err := queue.Open(cmd.Context(), config)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	w, v, closeVault, err := openWriter(cmd, f)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	v.KEK.Observe = m
	// A queue that is not there, or not ours, is said at once and not by a daemon that waits for it.
	if _, err := q.Attributes(cmd.Context()); err != nil {
		closeVault()
		return nil, nil, nil, nil, err
	}
	return q, w, v, closeVault, nil
}

var errStopped = errors.New("stopped before the queue was empty: run again, nothing is lost or stored twice")

// closeTimeout bounds the deletes that are left when the run has ended.
const closeTimeout = 15 * time.Second
