package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"cloakroom/etl"
)

// figures are what was promised, as --json prints them. report.go has the targets.
type figures struct {
	IngestVsInsert   float64 `json:"ingest_vs_insert"`     // rate from memory to commit, over that of loading the same sealed rows
	IngestVsCopy     float64 `json:"ingest_vs_copy"`       // over that of psql's \copy of them
	CPUPerEvent      float64 `json:"cpu_us_per_event"`     // client, from memory to commit
	ProtectPerEvent  float64 `json:"protect_us_per_event"` // client, from decoding to COPY text
	SQSVsBare        float64 `json:"sqs_vs_bare"`          // rate through SQS, over that of receiving and deleting alone
	SQSCPUVsBare     float64 `json:"sqs_cpu_vs_bare"`      // client CPU a message, over the same
	RowsGrownAt      int     `json:"rows_grown_at"`        // rows in the month's partition, for the next
	RowsGrownVsEmpty float64 `json:"rows_grown_vs_empty"`  // rate into it, over that into an empty one
	HotVsUniform     float64 `json:"hot_vs_uniform"`       // rate with one token on 20 % of the rows, over uniform: the least of all sizes
}

// names of contenders
const (
	fromMemory = "from memory to commit"
	sealedRows = "the same rows, sealed before, loaded the same way"
	psqlCopy   = `psql \copy of the same rows`
	throughSQS = "through SQS, until deleted"
	bareSQS    = "SDK receive and delete alone"
)

// measureMemory measures ingest from memory into an empty table, with each distribution, against its baselines.
func (b *bench) measureMemory(ctx context.Context) error {
	n := b.rows
	messages := newGenerator(uniform, 2).messages(n)
	batches, err := b.empty.protect(ctx, messages)
	if err != nil {
		return err
	}
	// The file that psql copies: the same rows, read back.
	if err := errors.Join(b.empty.truncate(ctx), b.empty.load(ctx, batches)); err != nil {
		return err
	}
	file := filepath.Join(b.dir, "rows")
	if b.empty.psql == "" {
		b.note("There is no psql here: a COPY from a file of the server's took its place.")
	}
	if err := b.empty.dump(ctx, file); err != nil {
		return err
	}
	contenders := []contender{
		b.empty.ingested(fromMemory,
			messages), b.empty.inserted(sealedRows, n, batches), b.empty.copied(psqlCopy, n, file),
	}
	for _, as := range b.shares {
		contenders = append(contenders, b.empty.ingested(string(as), newGenerator(as, 2).messages(n)))
	}
	s, err := interleave(ctx, b.pace, contenders...)
	if err != nil {
		return err
	}
	b.IngestVsInsert = s.rateRatio(fromMemory, sealedRows)
	b.IngestVsCopy = s.rateRatio(fromMemory, psqlCopy)
	b.CPUPerEvent = s.cpu(fromMemory)
	b.HotVsUniform = s.rateRatio(string(hot), fromMemory)
	b.section("From memory to Postgres",
		fmt.Sprintf("%d events a run into an emptied table with all indexes, %d rounds", n, len(s[fromMemory])))
	b.rates(s, fromMemory, sealedRows, psqlCopy)
	b.ratio("ingest / the same rows loaded", b.IngestVsInsert, atLeast(0.9))
	b.ratio(`ingest / \copy`, b.IngestVsCopy, atLeast(0.8))
	b.micros("client CPU an event", b.CPUPerEvent, atMost(5))
	for _, as := range b.shares {
		b.ratio(string(as)+" / uniform, empty table", s.rateRatio(string(as), fromMemory), atLeast(0.9))
	}
	return nil
}

// measureProtect measures decoding, normalising, two tokens, two seals and the COPY text on one core, garbage
// collection included.
func (b *bench) measureProtect(ctx context.Context) error {
	messages := newGenerator(uniform, 5).messages(b.rows)
	p := etl.NewProtector(b.empty.writer)
	var allocations float64
	protect := contender{"protect", func(ctx context.Context) (sample, error) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w := start()
		for _, part := range cut(messages, batchRows) {
			batch, err := p.Protect(ctx, part)
			if err != nil {
				return sample{}, err
			}
			batch.Release()
		}
		s := w.stop(len(messages))
		runtime.ReadMemStats(&after)
		allocations = float64(after.Mallocs-before.Mallocs) / float64(len(messages))
		return s, nil
	}}
	s, err := interleave(ctx, pace{least: 5, most: 5}, protect)
	if err != nil {
		return err
	}
	b.ProtectPerEvent = s.cpu("protect")
	b.section("Decode, normalise, 2 tokens, 2 seals", "one goroutine, garbage collection included")
	b.micros("CPU an event", b.ProtectPerEvent, atMost(2.5))
	b.number("allocations an event", allocations, atMost(3))
	return nil
}

// measureQueue measures ingest from the fake of SQS, and the SDK's plain loop over the same server.
func (b *bench) measureQueue(ctx context.Context) error {
	s, err := interleave(ctx, b.queuePace, b.queue.bare(bareSQS, b.rows), b.queue.ingested(throughSQS, b.empty, b.rows))
	if err != nil {
		return err
	}
	b.SQSVsBare = s.rateRatio(throughSQS, bareSQS)
	b.SQSCPUVsBare = s.cpuRatio(throughSQS, bareSQS)
	b.section(
		"Through SQS over HTTP",
		fmt.Sprintf("%d messages a run, %d receivers, the fake in a process of its own on the same cores, %d rounds",
			b.rows, receivers, len(s[bareSQS])),
	)
	b.rates(s, throughSQS, bareSQS)
	b.ratio("ingest / bare loop", b.SQSVsBare, atLeast(0.9))
	b.ratio("client CPU a message / bare loop", b.SQSCPUVsBare, atMost(1.1))
	return nil
}

// measureGrown measures ingest into a table that has rows already, against the empty one, with each distribution. Every
// distribution has a table of its own, grown with the same; they come one after the other, so that no table of 10
// million rows takes another's place in memory, and are compared by what each reaches of the empty table's rate beside
// it.
func (b *bench) measureGrown(ctx context.Context, rows int, target float64) error {
	messages := newGenerator(uniform, 2).messages(b.rows)
	ofEmpty := map[distribution]float64{}
	for _, as := range append([]distribution{uniform}, b.shares...) {
		d, err := b.database(ctx, fmt.Sprintf("%s_%d", as, rows))
		if err != nil {
			return err
		}
		if err := d.grow(ctx, rows, as); err != nil {
			return err
		}
		if b.RowsGrownAt, err = d.rows(ctx); err != nil {
			return err
		}
		s, err := interleave(ctx, b.pace, b.empty.ingested("empty", messages),
			d.added(string(as), newGenerator(as, 3), b.rows))
		if err != nil {
			return err
		}
		ofEmpty[as] = s.rateRatio(string(as), "empty")
		if as == uniform {
			b.section(
				fmt.Sprintf("Into a month of %d rows", b.RowsGrownAt),
				fmt.Sprintf("%d events a run, %d rounds for each distribution, which has a table grown with the same",
					b.rows, len(s["empty"])),
			)
		}
		if err := b.drop(ctx, d); err != nil {
			return err
		}
	}
	b.RowsGrownVsEmpty = ofEmpty[uniform]
	b.ratio("uniform, / into an empty table", b.RowsGrownVsEmpty, atLeast(target))
	for _, as := range b.shares {
		r := ofEmpty[as] / ofEmpty[uniform]
		b.ratio(string(as)+" / uniform, each by the empty table's rate", r, atLeast(0.9))
		if as == hot {
			b.HotVsUniform = min(b.HotVsUniform, r)
		}
	}
	return nil
}
