// Bench measures cloakroom against what its work costs anybody, in ratios of one run on one machine: a table, or with
// --json one JSON object. Servers are processes of their own; contenders take turns; figures are medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if os.Getenv(asQueue) != "" {
		return serveQueue(os.Stdin, os.Stdout)
	}
	if orders := os.Getenv(asRotator); orders != "" {
		return serveRotator(context.Background(), orders, os.Stdout)
	}
	asJSON := flag.Bool("json", false,
		"print one JSON object of the promised figures and nothing else, within a minute")
	rotation := flag.Bool("rotation", false, "measure the rotation job")
	rows := flag.Int("rows", 1_000_000, "with --rotation: how many `ROWS`")
	long := flag.Bool("long", false, "measure 10 million rows and the memory they take, which takes half an hour")
	page := flag.String("write", "", "write the tables into `FILE`, between its marks, besides printing them")
	verbose := flag.Bool("v", false, "tell on standard error how far it is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := &bench{report: report{progress: io.Discard}}
	if *verbose || !*asJSON {
		b.progress = os.Stderr
	}
	switch {
	case *asJSON:
		if err := b.measure(ctx, b.brief); err != nil {
			return err
		}
		return b.json(os.Stdout)
	case *rotation:
		b.rows = *rows
		return b.print(ctx, b.rotation, *page, beginRotation, endRotation)
	case *long:
		return b.print(ctx, b.long, *page, beginLong, endLong)
	}
	return b.print(ctx, b.full, *page, beginMark, endMark)
}

// bench is one run of this program.
type bench struct {
	*world
	empty *database // emptied before each run
	queue *remoteQueue

	rows      int            // of each run
	shares    []distribution // measured besides uniform
	pace      pace           // of what goes from memory
	queuePace pace           // of what goes through the queue
	figures
	report
}

// measure starts the servers, measures, and stops them.
func (b *bench) measure(ctx context.Context, what func(context.Context) error) (err error) {
	if b.world, err = newWorld(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.world.close()) }()
	if b.empty, err = b.database(ctx, "empty"); err != nil {
		return err
	}
	if b.queue, err = startQueue(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.queue.close()) }()
	return what(ctx)
}

func (b *bench) print(ctx context.Context, what func(context.Context) error, page, begin, end string) error {
	if err := b.measure(ctx, what); err != nil {
		return err
	}
	b.markdown(os.Stdout)
	if page == "" {
		return nil
	}
	return b.writeTo(page, begin, end)
}

// brief measures the promised figures and nothing else. Rounds over the third are left out where the machine is slow.
func (b *bench) brief(ctx context.Context) error {
	began := time.Now()
	b.rows, b.shares = 16_000, []distribution{hot}
	b.pace = pace{least: 3, most: 5, late: began.Add(9 * time.Second)}
	b.queuePace = pace{least: 3, most: 5, late: began.Add(16 * time.Second)}
	if err := b.measureMemory(ctx); err != nil {
		return err
	}
	if err := b.measureProtect(ctx); err != nil {
		return err
	}
	if err := b.measureQueue(ctx); err != nil {
		return err
	}
	b.pace = pace{least: 3, most: 5, late: began.Add(34 * time.Second)}
	return b.measureGrown(ctx, 500_000, 0.8)
}

// full measures everything but what takes long.
func (b *bench) full(ctx context.Context) error {
	b.rows, b.shares = 100_000, []distribution{hot, zipf}
	b.pace, b.queuePace = pace{least: 5, most: 5}, pace{least: 5, most: 5}
	for _, measure := range []func(context.Context) error{
		b.measureMemory, b.measureProtect, b.measureQueue, b.measurePeers,
		func(ctx context.Context) error { return b.measureGrown(ctx, 1_000_000, 0.8) },
	} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// long measures what takes long.
func (b *bench) long(ctx context.Context) error {
	b.rows, b.shares, b.pace = 100_000, []distribution{hot, zipf}, pace{least: 5, most: 5}
	if err := b.measureFlat(ctx, 100_000, 10_000_000); err != nil {
		return err
	}
	return b.measureGrown(ctx, 10_000_000, 0.5)
}

const (
	beginLong = "<!-- long figures: make bench-long writes them -->\n"
	endLong   = "<!-- end of long figures -->\n"
)
