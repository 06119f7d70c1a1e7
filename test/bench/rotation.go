package main

import (
	"context"
	"errors"
	"fmt"
)

// names of rotation's contenders
const (
	bareSealed   = "bare UPDATE of the sealed columns and the data key"
	resealed     = "reseal, all of it"
	bareNew      = "bare UPDATE of two columns without indexes"
	bareTokens   = "bare UPDATE of the tokens where they are"
	reindexed    = "reindex, all of it"
	ingestAlone  = "ingest alone"
	ingestBeside = "ingest while reseal runs"
)

const (
	beginRotation = "<!-- rotation figures: make bench-rotation writes them -->\n"
	endRotation   = "<!-- end of rotation figures -->\n"
)

// wrappedKeys are rewrapped in one pass.
const wrappedKeys = 10_000

// rotation measures the rotation job.
func (b *bench) rotation(ctx context.Context) error {
	b.pace = pace{least: 3, most: 3}
	d, err := b.grown(ctx, "rotation", b.rows)
	if err != nil {
		return err
	}
	for _, measure := range []func(context.Context, *database) error{b.measureReseal, b.measureReindex, b.measureBeside} {
		if err := measure(ctx, d); err != nil {
			return err
		}
	}
	return b.measureRewrap(ctx, wrappedKeys)
}

// grown makes a database with a given number of rows that came the real way: they open.
func (b *bench) grown(ctx context.Context, name string, rows int) (*database, error) {
	d, err := b.database(ctx, name)
	if err != nil {
		return nil, err
	}
	g := newGenerator(zipf, 30)
	for left := rows; left > 0; left -= 100_000 {
		if err := d.ingest(ctx, g.messages(min(left, 100_000))); err != nil {
			return nil, err
		}
	}
	return d, errors.Join(d.vacuum(ctx), d.prepareBare(ctx))
}

// orders are those of a rotator in a database.
func (b *bench) orders(ctx context.Context, d *database, step string) (orders, error) {
	_, err := b.login(ctx, d, rotatorLogin, "rotator")
	return orders{URL: b.server.URL(rotatorLogin, d.name), OwnerURL: d.url, KEK: b.kekURI, Step: step}, err
}

// rotated is a contender that runs one step of the job over all rows, in a process of its own.
func (o orders) rotated(name string, d *database, rows int, told func(turned)) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		t, err := o.run(ctx)
		if err == nil && t.Rows != int64(rows) {
			err = fmt.Errorf("of %d rows %d were done", rows, t.Rows)
		}
		if err != nil {
			return sample{}, err
		}
		told(t)
		return t.sample(), d.vacuum(ctx)
	}}
}

// few is the smaller of two tables between which the job's memory is to be the same.
func few(rows int) int { return rows / 10 }

func (b *bench) measureReseal(ctx context.Context, d *database) error {
	return b.measureStep(ctx, d, "reseal", func(o orders, told func(turned)) error {
		s, err := interleave(ctx, b.pace, d.bareReseal(bareSealed, b.rows), o.rotated(resealed, d, b.rows, told))
		if err != nil {
			return err
		}
		b.section("Reseal", b.how(len(s[resealed])))
		b.rates(s, bareSealed, resealed)
		b.ratio("reseal / bare", s.rateRatio(resealed, bareSealed), atLeast(0.5))
		return nil
	})
}

func (b *bench) measureReindex(ctx context.Context, d *database) error {
	return b.measureStep(ctx, d, "reindex", func(o orders, told func(turned)) error {
		var backfills []float64
		s, err := interleave(ctx, b.pace, d.bareBackfill(bareNew, b.rows), d.bareReindex(bareTokens, b.rows),
			o.rotated(reindexed, d, b.rows, func(t turned) {
				backfills = append(backfills, t.Backfill)
				told(t)
			}))
		if err != nil {
			return err
		}
		b.section(
			"Reindex",
			b.how(
				len(s[reindexed]),
			)+". All of it is the backfill, two indexes, a check that opens every row, and the change-over",
		)
		b.rates(s, bareNew, bareTokens)
		b.line("reindex, its backfill", perSecond(median(backfills)), "", "")
		b.rates(s, reindexed)
		var ratios []float64
		for i, rate := range backfills {
			ratios = append(ratios, rate/s[bareNew][i].rate())
		}
		b.ratio("backfill / bare without indexes", median(ratios), atLeast(0.5))
		b.ratio("all of it / bare of the tokens where they are", s.rateRatio(reindexed, bareTokens), atLeast(0.5))
		b.ratio("all of it / bare without indexes", s.rateRatio(reindexed, bareNew), target{})
		return nil
	})
}

func (b *bench) how(rounds int) string {
	return fmt.Sprintf(
		"%s rows, batches of %s, %d connections each, %d rounds; VACUUM in between. The job is a process of its own on the same cores",
		thousands(b.rows), thousands(batchRows), rotators, rounds)
}

// measureStep measures a step, and the memory it takes for few rows and for many.
func (b *bench) measureStep(ctx context.Context, d *database, step string,
	measure func(o orders, told func(turned)) error) error {
	small, err := b.grown(ctx, step+"_few", few(b.rows))
	if err != nil {
		return err
	}
	o, err := b.orders(ctx, small, step)
	if err != nil {
		return err
	}
	var fewPeaks, peaks []float64
	for range b.pace.most {
		t, err := o.run(ctx)
		if err != nil {
			return err
		}
		fewPeaks = append(fewPeaks, t.PeakMiB)
	}
	if o, err = b.orders(ctx, d, step); err != nil {
		return err
	}
	if err := measure(o, func(t turned) { peaks = append(peaks, t.PeakMiB) }); err != nil {
		return err
	}
	least := median(fewPeaks)
	if least == 0 {
		b.note("Not measured: memory. This system does not say.")
		return nil
	}
	b.line(fmt.Sprintf("peak memory, %s rows", thousands(few(b.rows))), fmt.Sprintf("%.0f MiB", least), "", "")
	b.line(fmt.Sprintf("peak memory, %s rows", thousands(b.rows)), fmt.Sprintf("%.0f MiB", median(peaks)), "",
		"")
	b.ratio("many / few", median(peaks)/least, atMost(1.1))
	return nil
}

// measureBeside measures ingest into the same table without and with a reseal under way.
func (b *bench) measureBeside(ctx context.Context, d *database) error {
	o, err := b.orders(ctx, d, "reseal")
	if err != nil {
		return err
	}
	n := max(b.rows/20, 50_000)
	g := newGenerator(zipf, 31)
	beside := contender{ingestBeside, func(ctx context.Context) (sample, error) {
		kill, err := o.start(ctx)
		if err != nil {
			return sample{}, err
		}
		s, err := d.added("", g, n).run(ctx)
		return s, errors.Join(err, kill())
	}}
	s, err := interleave(ctx, pace{least: 5, most: 5}, d.added(ingestAlone, g, n), beside)
	if err != nil {
		return err
	}
	b.section(
		"Ingest while reseal runs",
		fmt.Sprintf(
			"%s events a run into the same table, %d rounds; each reseal is killed when the events are stored and resumed in the next round",
			thousands(n), len(s[ingestBeside])),
	)
	b.rates(s, ingestAlone, ingestBeside)
	b.ratio("beside / alone", s.rateRatio(ingestBeside, ingestAlone), atLeast(0.6))
	return nil
}
