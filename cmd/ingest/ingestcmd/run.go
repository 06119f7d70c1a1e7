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
)

// closeTimeout bounds the deletes that are left when the run has ended.
const closeTimeout = 15 * time.Second

var errStopped = errors.New("stopped before the queue was empty: run again, nothing is lost or stored twice")

// openFrom opens what a run with --from needs: a writer, and what makes an input of its source. The last result but the
// error closes the vault.
func (s *settings) openFrom(
	ctx context.Context, name string,
) (w *etl.Writer, input func(etl.Source) []etl.Input, closeVault func(), err error) {
	f, err := s.single()
	if err != nil {
		return nil, nil, nil, err
	}
	f.name = name
	if s.deleteObjects && len(f.buckets) > 0 {
		return nil, nil, nil, errors.New(
			"--s3-delete does not go with --from: the events' messages are not deleted either")
	}
	feeds := []feed{f}
	store, err := openObjects(ctx, feeds)
	if err != nil {
		return nil, nil, nil, err
	}
	w, _, closeVault, err = s.openWriter(ctx, feeds)
	return w, func(from etl.Source) []etl.Input { return s.inputs(feeds, store, from) }, closeVault, err
}

// ingestFile reads a file, once.
func ingestFile(cmd *cobra.Command, s *settings) error {
	w, input, closeVault, err := s.openFrom(cmd.Context(), "file")
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
	done, err := move(cmd, s, w, input(file), o, func() int { return 0 })
	if err = finish(cmd, s, done, err); err != nil || s.dryRun {
		return err
	}
	if cmd.Context().Err() != nil {
		return cli.Exit(cli.ExitUnfinished,
			errors.New("stopped before the file's end: run again, nothing is lost or stored twice"))
	}
	// A backfill leaves out what is finished: the object of this name, if this was a mended copy of it.
	return w.NoteSources(cmd.Context(), []etl.SourceRecord{
		{Name: file.Name(), Position: file.Position(), Finished: true},
	})
}

// ingestQueues reads the queues: as a daemon, or once until they are empty.
func ingestQueues(cmd *cobra.Command, s *settings) error {
	ctx := cmd.Context()
	daemon := !s.once && !s.dryRun
	feeds, err := s.feeds()
	if err != nil {
		return err
	}
	m := metrics.New()
	q, err := s.openQueues(ctx, feeds, m)
	if err != nil {
		return err
	}
	store, err := openObjects(ctx, feeds)
	if err != nil {
		return err
	}
	w, v, closeVault, err := s.openWriter(ctx, feeds)
	if err == nil {
		defer closeVault()
		v.KEK.Observe = m
		m.Datasets(w.Datasets())
		m.DataKeys(w.DataKeys)
		err = q.reach(ctx, daemon)
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
	reading := source.SQSOptions{Once: s.once, DryRun: s.dryRun, OnceWait: s.onceWait, MaxOutage: o.MaxOutage}
	if store != nil && s.deleteObjects {
		reading.Objects = store
	}
	q.consume(reading, m)
	h := newHealth(m, v, q.polled())
	o.Observe, o.Holding, o.Resumed = h, h.hold, h.resume
	stopServing, err := serve(s.httpAddr, m, h)
	if err != nil {
		q.close(ctx)
		return err
	}
	defer stopServing()
	if daemon {
		for _, f := range feeds {
			slog.Info("ingesting", "queue", f.url, "events", f.describe(w.Default()), "receivers", s.receivers,
				"loaders", s.loaders)
		}
	}
	done, err := move(cmd, s, w, q.inputs(s, store), o, q.held)
	q.close(ctx)
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

// move takes events from all inputs into the database, or only judges them, and shows how far it has
// come.
func move(
	cmd *cobra.Command, s *settings, w *etl.Writer, from []etl.Input, o etl.Options, held func() int,
) (etl.Summary, error) {
	p := &progress{Observer: o.Observe}
	o.Observe = p
	shown := cli.StartProgress(cmd)
	defer shown.End()
	shown.Status(func() string { return p.line(held()) })
	if s.dryRun {
		return etl.DryRun(cmd.Context(), w, from, s.lister(cmd))
	}
	return etl.RunInputs(cmd.Context(), w, from, o)
}
