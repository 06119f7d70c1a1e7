package ingestcmd

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/dataset/trial"
	"cloakroom/etl"
	"cloakroom/etl/unwrap"
	"cloakroom/internal/cli"
)

// listed is how many events are listed, where nothing else is asked for.
const listed = 5

func newTestCommand(s *settings) *cobra.Command {
	var from string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Say what would become of each event of a sample under a dataset's file",
		Long: `Say what would become of each event of a sample under a dataset's file: its row, or the rejection. It
writes nothing, and needs neither database nor queue nor KEK.

Members in clear are shown, and what a member reveals. A sealed value is not: its length is, and for each
index a label. Equal tokens have equal labels (t1, t2), so that what would meet can be seen; - is the token
of a value that means "none". Keys are made for the run and thrown away.

What only the vault knows is not tried: its window of days (bad_date), what it holds already, and what
Postgres refuses (db_data). With --unwrap the sample is opened as a queue's messages are; objects in S3 are
not read. It exits with 1 if an event would be rejected.`,
		Example: `  ingest test order.yaml --from orders.jsonl
  ingest test order.yaml --from orders.jsonl --json | jq 'select(.outcome == "rejected")'`,
		Args: cli.Args("FILE"),
	}
	f := cli.Of(cmd)
	f.String(&from, "from", "", "sample: JSON Lines or a JSON array, plain or gzip; - for standard input")
	f.Int(&limit, "limit", 0, cli.Between(1, 1_000_000_000).OrZero("5; with --json: all"),
		"most events to list; the summary counts all")
	f.Bool(&asJSON, "json", "print a JSON object a line: each event, and the summary")
	f.Require("from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := os.ReadFile(args[0])
		if err != nil {
			return fmt.Errorf("reading the dataset: %w", err)
		}
		d, err := dataset.Parse(text)
		if err != nil {
			return fmt.Errorf("%s has mistakes: keys dataset lint lists them: %w", args[0], err)
		}
		if limit == 0 && !asJSON {
			limit = listed
		}
		t, err := newTrial(d, s)
		if err != nil {
			return err
		}
		return tryEvents(cmd, t, from, limit, asJSON)
	}
	return cmd
}

// wrappedTrial tries events that may come in envelopes.
type wrappedTrial struct {
	*trial.Trial
	opener *unwrap.Unwrapper
	guard  unwrap.Guard
}

func newTrial(d *dataset.Dataset, s *settings) (*wrappedTrial, error) {
	t, err := trial.New(d)
	if err != nil {
		return nil, err
	}
	config := unwrap.Config{MaxBody: int(s.maxBody)}
	if len(s.unwrap) > 0 {
		if config.Layers, err = unwrap.ParseLayers(strings.Join(s.unwrap, ",")); err != nil {
			return nil, fmt.Errorf("reading --unwrap: %w", err)
		}
	}
	return &wrappedTrial{t, unwrap.New(config), unwrap.GuardOf(d)}, nil
}

// try opens a body as ingest does, and tries what is in it.
func (t *wrappedTrial) try(line int64, body []byte) (trial.Outcome, error) {
	opened := t.opener.Open(body, t.guard)
	if opened.Pointer != nil {
		return trial.Outcome{}, fmt.Errorf("trying line %d: its event lies in S3, where ingest test reads nothing: "+
			"download the object, and take it as the sample", line)
	}
	out := trial.Outcome{Line: line, Outcome: trial.Rejected, Reason: opened.Rejection.Reason, Member: opened.Rejection.Member}
	if out.Reason == "" {
		var err error
		if out, err = t.Try(line, opened.Body); err != nil || out.Outcome != trial.Rejected {
			return out, err
		}
	}
	layers := t.opener.Layers
	if len(layers) == 0 {
		if layers = unwrap.Suggest(body, t.guard); len(layers) > 0 {
			out.Reason, out.Member = etl.Enveloped, "unwrap="+unwrap.Format(layers)
		}
	}
	return out, nil
}

func tryEvents(cmd *cobra.Command, t *wrappedTrial, from string, limit int, asJSON bool) error {
	out, counter := cmd.OutOrStdout(), t.NewCounter()
	n, err := cli.ReadEvents(cmd, from, func(line int64, body []byte) error {
		o, err := t.try(line, body)
		if err != nil {
			return err
		}
		counter.Add(o)
		switch {
		case limit > 0 && counter.Events() > int64(limit):
			return nil
		case asJSON:
			return cli.PrintJSONLine(out, o)
		}
		printOutcome(out, "line", o)
		return nil
	})
	if err != nil {
		return err
	}
	sum := counter.Summary()
	if asJSON {
		err = cli.PrintJSONLine(out, map[string]any{"summary": sum})
	} else {
		if limit > 0 && n > int64(limit) {
			cli.Printf(out, "and %s more: --limit shows them\n", cli.Count(n-int64(limit), "event"))
		}
		err = printTrial(out, sum)
	}
	if err == nil && sum.Rejected > 0 {
		return cli.Exit(cli.ExitOther, nil)
	}
	return err
}

// printOutcome writes one event: a line that says what becomes of it, and one a member. where is what its number counts:
// lines, or events.
func printOutcome(w io.Writer, where string, o trial.Outcome) {
	switch o.Outcome {
	case trial.Rejected:
		cli.Printf(w, "%s %d: REJECTED: %s\n", where, o.Line, reasonOf(o.Reason, o.Member))
		return
	case trial.Duplicate:
		cli.Printf(w, "%s %d: duplicate of %s %d, and not stored again\n", where, o.Line, where, o.SameAs)
		return
	}
	cli.Printf(w, "%s %d: stored\n", where, o.Line)
	sealed := ""
	for i, cell := range o.Row {
		begin := fmt.Sprintf("\n  %-18s ", cell.Column)
		switch {
		case cell.Kind == trial.Sealed:
			sealed = cell.Column
		case cell.Kind == trial.Token, cell.Kind == trial.None,
			sealed != "" && strings.HasPrefix(cell.Column, sealed+"__"): // what is shown of the sealed value
			begin = "; " + cell.Column + " "
		}
		if i == 0 {
			begin = begin[1:]
		}
		_, _ = io.WriteString(w, begin)
		cli.Printf(w, "%s", cellText(cell))
	}
	cli.Printf(w, "\n")
	for _, drop := range o.Dropped {
		cli.Printf(w, "  dropped: %s, because it cannot be read: %s\n", drop.Member, string(drop.Reason))
	}
}

func reasonOf(reason dataset.Reason, member string) string {
	if member == "" {
		return string(reason)
	}
	return member + ": " + string(reason)
}

// widest is how much of a clear value is shown.
const widest = 200

func cellText(cell trial.Cell) string {
	switch cell.Kind {
	case trial.Null:
		return "NULL"
	case trial.Sealed:
		return fmt.Sprintf("sealed, %d bytes", cell.Bytes)
	case trial.None:
		return "-"
	}
	if runes := []rune(cell.Value); len(runes) > widest {
		return string(runes[:widest]) + "…"
	}
	return cell.Value
}

func printTrial(w io.Writer, s trial.Summary) error {
	cli.Printf(w, "\n%s: %d would be stored, %s, %d rejected\n", cli.Count(s.Events, "event"), s.Stored,
		cli.Count(s.Duplicates, "duplicate"), s.Rejected)
	table := cli.NewTable("WHAT", "MEMBER", "REASON", "COUNT", "FIRST LINE")
	for _, c := range s.Rejections {
		member := "-"
		if c.Member != "" {
			member = c.Member
		}
		table.Row("rejected", member, string(c.Reason), c.N, c.Line)
	}
	for _, c := range s.Dropped {
		table.Row("dropped", c.Member, string(c.Reason), c.N, c.Line)
	}
	if len(s.Rejections)+len(s.Dropped) > 0 {
		cli.Printf(w, "\n")
		if err := table.Print(w); err != nil {
			return err
		}
	}
	if len(s.Indexes) == 0 {
		return nil
	}
	cli.Printf(w, "\n")
	table = cli.NewTable("INDEX", "VALUES", "DIFFERENT", "MEAN NONE")
	for _, ix := range s.Indexes {
		table.Row(ix.Column, ix.Values, ix.Different, ix.None)
	}
	return table.Print(w)
}
