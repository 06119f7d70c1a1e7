package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"cloakroom/etl"
)

// The defaults of etl.Options, which the baselines share.
const (
	loaders   = 2
	batchRows = 2000
)

var quiet = slog.New(slog.DiscardHandler)

// ingest runs messages from memory to their commit.
func (d *database) ingest(ctx context.Context, messages []*etl.Message) error {
	s, err := etl.Run(ctx, d.writer, inMemory(messages),
		etl.Options{Log: quiet, Loaders: loaders, BatchRows: batchRows})
	if err == nil && s.Stored != int64(len(messages)) {
		err = fmt.Errorf("of %d events %d were stored", len(messages), s.Stored)
	}
	return err
}

// ingested is a contender that ingests into an emptied table.
func (d *database) ingested(name string, messages []*etl.Message) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		if err := d.truncate(ctx); err != nil {
			return sample{}, err
		}
		w := start()
		err := d.ingest(ctx, messages)
		return w.stop(len(messages)), err
	}}
}

// added is a contender that ingests n new logins into the table as it stands.
func (d *database) added(name string, g *generator, n int) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		messages := g.messages(n)
		w := start()
		err := d.ingest(ctx, messages)
		return w.stop(n), err
	}}
}

// protect seals messages in batches, to be loaded as often as one likes.
func (d *database) protect(ctx context.Context, messages []*etl.Message) ([]*etl.Batch, error) {
	p := etl.NewProtector(d.writer)
	var batches []*etl.Batch
	for _, part := range cut(messages, batchRows) {
		b, err := p.Protect(ctx, part)
		if err != nil {
			return nil, err
		}
		batches = append(batches, b)
	}
	return batches, nil
}

// inserted is the baseline of ingest: the same rows, sealed already, loaded the same way.
func (d *database) inserted(name string, n int, batches []*etl.Batch) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		if err := d.truncate(ctx); err != nil {
			return sample{}, err
		}
		w := start()
		err := d.load(ctx, batches)
		return w.stop(n), err
	}}
}

func (d *database) load(ctx context.Context, batches []*etl.Batch) error {
	queue := make(chan *etl.Batch, len(batches))
	for _, b := range batches {
		queue <- b
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	for range loaders {
		group.Go(func() error {
			l := etl.NewLoader(d.writer)
			defer l.Close()
			for b := range queue {
				if _, err := l.Load(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// copied is the second baseline: psql's \copy of the table's rows, from a file into the same table. dump wrote the
// file.
func (d *database) copied(name string, n int, file string) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		if err := d.truncate(ctx); err != nil {
			return sample{}, err
		}
		w := start()
		err := d.copy(ctx, "cloakroom_data.user_logins FROM '"+file+"'")
		return w.stop(n), err
	}}
}

// dump writes the table's rows to a file as COPY text.
func (d *database) dump(ctx context.Context, file string) error {
	// Without psql the server writes it, under its own account.
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(file, 0o666), os.Chmod(filepath.Dir(file), 0o711)); err != nil {
		return err
	}
	return d.copy(ctx, "(SELECT * FROM cloakroom_data.user_logins) TO '"+file+"'")
}

// copy runs psql's \copy, or, where there is no psql, COPY with a file of the server's.
func (d *database) copy(ctx context.Context, what string) error {
	if d.psql == "" {
		_, err := d.admin.ExecContext(ctx, "COPY "+what)
		return err
	}
	cmd := exec.CommandContext(ctx, d.psql, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command",
		`\copy `+what, d.url)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
