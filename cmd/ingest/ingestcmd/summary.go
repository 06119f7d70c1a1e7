package ingestcmd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/etl/source"
	"cloakroom/internal/cli"
)

// progress writes the line on a terminal: rate, lag, in flight, rejected. It passes on what it is
// told.
type progress struct {
	etl.Observer // may be nil

	mu             sync.Mutex
	rejected, done int64
	lag            time.Duration
	since          time.Time // of the rate shown
	before         int64     // done then
	rate           float64   // events a second
}

// rateEvery is over how long the rate is measured.
const rateEvery = time.Second

func (p *progress) line(held int) string {
	moved := p.moved()
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%s · lag %v · %d in flight", moved, p.lag.Round(100*time.Millisecond), held)
}

// moved is how many events were committed, how quickly, and how many were rejected.
func (p *progress) moved() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch took := time.Since(p.since); {
	case p.since.IsZero():
		p.since = time.Now()
	case took >= rateEvery:
		p.rate = float64(p.done-p.before) / took.Seconds()
		p.since, p.before = time.Now(), p.done
	}
	return fmt.Sprintf("%s · %.0f/s · %d rejected", cli.Count(p.done, "event"), p.rate, p.rejected)
}

// Received implements etl.Observer.
func (p *progress) Received(queue string, messages int) {
	if p.Observer != nil {
		p.Observer.Received(queue, messages)
	}
}

// BatchCommitted implements etl.Observer.
func (p *progress) BatchCommitted(queue string, messages []*etl.Message, took time.Duration, c etl.Counts) {
	p.mu.Lock()
	p.done += int64(len(messages))
	for _, n := range c.Rejections {
		p.rejected += n
	}
	if len(messages) > 0 && !messages[0].DayOnly {
		p.lag = time.Since(messages[0].Sent)
	}
	p.mu.Unlock()
	if p.Observer != nil {
		p.Observer.BatchCommitted(queue, messages, took, c)
	}
}

// finish prints a run's summary and turns its end into an exit code.
func finish(cmd *cobra.Command, s *settings, done etl.Summary, err error) error {
	if printErr := printSummary(cmd.OutOrStdout(), s, done); err == nil {
		err = printErr
	}
	return outcome(done, err)
}

// outcome turns a run's end into an exit code.
func outcome(done etl.Summary, err error) error {
	switch {
	case errors.Is(err, source.ErrNotDrained), errors.Is(err, errStopped):
		return cli.Exit(cli.ExitUnfinished, err)
	case err == nil && done.Abandoned > 0:
		return cli.Exit(cli.ExitUnfinished,
			fmt.Errorf("stopped before %s committed: run again, nothing is lost or stored twice", were(done.Abandoned)))
	}
	return err
}

func were(events int64) string {
	if events == 1 {
		return "1 event was"
	}
	return fmt.Sprintf("%d events were", events)
}

func printSummary(w io.Writer, s *settings, done etl.Summary) error {
	if s.asJSON {
		return cli.PrintJSONLine(w, done)
	}
	if _, err := fmt.Fprintln(w, summaryLine(s, &done)); err != nil {
		return err
	}
	for i := range done.Queues {
		q := &done.Queues[i]
		if _, err := fmt.Fprintf(w, "  %s: %s\n", q.Queue, summaryCounts(s, &q.Summary)); err != nil {
			return err
		}
	}
	return printDetails(w, done.Details)
}

// printDetails says what a dry run would reject or leave out, and where. What events hold is not shown: a queue is not
// the sample of one author, as that of ingest test is.
func printDetails(w io.Writer, details []etl.Detail) error {
	if len(details) == 0 {
		return nil
	}
	cli.Printf(w, "\n")
	table := cli.NewTable("WHAT", "DATASET", "MEMBER", "REASON", "EVENTS")
	for _, d := range details {
		table.Row(d.Outcome, d.Dataset, cmp.Or(d.Member, "-"), string(d.Reason), d.Events)
	}
	return table.Print(w)
}

func summaryLine(s *settings, done *etl.Summary) string {
	return fmt.Sprintf("%s · %.1f s", summaryCounts(s, done), done.Seconds)
}

func summaryCounts(s *settings, done *etl.Summary) string {
	stored := "stored"
	if s.dryRun {
		stored = "would be stored"
	}
	line := fmt.Sprintf("%d received · %d %s · %s dropped · %d rejected",
		done.Received, done.Stored, stored, cli.Count(done.Duplicates, "duplicate"), done.Rejected)
	if len(done.Rejections) > 0 {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(done.Rejections)) {
			reasons = append(reasons, fmt.Sprintf("%s %d", reason, done.Rejections[reason]))
		}
		line += " (" + strings.Join(reasons, ", ") + ")"
	}
	if done.MembersDropped > 0 {
		line += fmt.Sprintf(" · %s not readable and left out", cli.Count(done.MembersDropped, "optional member"))
	}
	if done.Ignored > 0 {
		line += fmt.Sprintf(" · %s of S3 deleted", cli.Count(done.Ignored, "test event"))
	}
	if done.Abandoned > 0 {
		line += fmt.Sprintf(" · %d not committed", done.Abandoned)
	}
	return line
}
