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
	"cloakroom/internal/cli"
	"cloakroom/internal/queue"
)

// closeTimeout bounds the deletes that are left when the run has ended.
const closeTimeout = 15 * time.Second

var errStopped = errors.New("stopped before the queue was empty: run again, nothing is lost or stored twice")

// ingestFile reads a file, once.
func ingestFile(cmd *cobra.Command, s *settings) error {
	w, _, closeVault, err := s.openWriter(cmd)
	if err != nil {
		return err
	}
	defer closeVault()
	date := ""
	if !s.date.IsZero() {
		date = s.date.Format(time.DateOnly)
	}
	file, closeFile, err := source.OpenFile(cmd.Context(), w, source.FileOptions{
		Path: s.from, Name: s.source, Date: date, Stdin: cmd.InOrStdin(), DryRun: s.dryRun,
	})
	if err != nil {
		return err
	}
	defer closeFile()
	o := s.options()
	o.Receivers = 1
	done, err := move(cmd, s, w, file, o, func() int { return 0 })
	return finish(cmd, s, done, err)
}

// ingestQueue reads the queue: as a daemon, or once until it is empty.
func ingestQueue(cmd *cobra.Command, s *settings) error {
	ctx := cmd.Context()
	daemon := !s.once && !s.dryRun
	m := metrics.New()
	config := s.queueConfig()
	config.Observe = m
	q, err := queue.Open(ctx, config)
	if err != nil {
		return err
	}
	w, v, closeVault, err := s.openWriter(cmd)
	if err == nil {
		defer closeVault()
		v.KEK.Observe = m
		m.Datasets(w.Datasets())
		// A queue that is not there, or not ours, is said now. A daemon would wait for it without
		// end.
		_, err = q.Attributes(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil && daemon:
		// Told to stop while it started: that is why the call failed.
		slog.Info("stopped before anything was received")
		return nil
	case err != nil:
		return err
	}

	o := s.options()
	queued := source.NewSQS(q, source.SQSOptions{
		Once: s.once, DryRun: s.dryRun, OnceWait: s.onceWait, MaxOutage: o.MaxOutage, Log: slog.Default(),
	})
	h := newHealth(m, v, queued)
	o.Observe, o.Holding = h, h.hold
	m.Gauges(queued.Held, w.DataKeys)
	stopServing, err := serve(s.httpAddr, m, h)
	if err != nil {
		closeQueue(ctx, queued)
		return err
	}
	defer stopServing()
	if daemon {
		slog.Info("ingesting", "queue", s.queueURL, "receivers", s.receivers, "loaders", s.loaders)
	}
	done, err := move(cmd, s, w, queued, o, queued.Held)
	closeQueue(ctx, queued)
	switch {
	case ctx.Err() == nil || err != nil:
	case daemon:
		// It was told to stop, and has given back what it had not committed: its work is done.
		done.Abandoned = 0
	default:
		err = errStopped
	}
	return finish(cmd, s, done, err)
}

// closeQueue deletes what is committed and gives back the rest, although the process may have been
// asked to stop.
func closeQueue(ctx context.Context, queued *source.SQS) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	queued.Close(closing)
}

// move takes events from a source into the database, or only judges them, and shows how far it has
// come.
func move(
	cmd *cobra.Command, s *settings, w *etl.Writer, from etl.Source, o etl.Options, held func() int,
) (etl.Summary, error) {
	p := &progress{Observer: o.Observe}
	o.Observe = p
	shown := cli.StartProgress(cmd)
	defer shown.End()
	shown.Status(func() string { return p.line(held()) })
	if s.dryRun {
		return etl.DryRun(cmd.Context(), w, from)
	}
	return etl.Run(cmd.Context(), w, from, o)
}
