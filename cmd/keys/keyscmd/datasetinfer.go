package keyscmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/dataset/infer"
	"cloakroom/etl/unwrap"
	"cloakroom/internal/cli"
)

func newDatasetInferCommand() *cobra.Command {
	var from, name, table, out string
	var wrapped []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "infer",
		Short: "Draft a dataset's file from a sample of events",
		Long: `Draft a dataset's file from a sample of events: the members with their types and lengths, which of them
look personal and why, and how those are protected. It needs neither vault nor database.

The draft quotes no value that looks personal. It judges by names and by the form of values: that a
member was not judged personal proves nothing, so read each line before keys dataset apply.`,
		Example: `  keys dataset infer --from orders.jsonl --name order --out order.yaml
  zcat old.gz | keys dataset infer --from - --name order`,
		Args: cli.Args(),
	}
	f := cli.Of(cmd)
	f.String(&from, "from", "", "sample: JSON Lines or a JSON array, plain or gzip; - for standard input")
	f.String(&name, "name", "", "the dataset's name; empty: the file's")
	f.String(&table, "table", "", "the table's name; empty: the dataset's and an s")
	f.String(&out, "out", "", "write the draft to FILE, which must not exist; empty: to standard output")
	f.List(&wrapped, "unwrap", "what the events are wrapped in, as for ingest, such as sns or sns,gzip+base64; empty: "+
		"nothing", func(text string) error { _, err := unwrap.ParseLayers(text); return err })
	f.Bool(&asJSON, "json", "print what was found as JSON, and not the draft")
	f.Require("from")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if name == "" {
			base, _, _ := strings.Cut(filepath.Base(from), ".")
			name = infer.TableName(base)
		}
		if name == "" {
			return cli.Usage(cmd, errors.New("name the dataset: --name NAME"))
		}
		sample := infer.NewSample()
		add, err := adder(sample, wrapped)
		if err != nil {
			return err
		}
		lines, err := cli.ReadEvents(cmd, from, add)
		if err != nil {
			return err
		}
		draft, err := sample.Draft(infer.Options{Name: name, Table: table, Source: sourceName(from)})
		if err != nil {
			return fmt.Errorf("reading %s: %w", from, err)
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), draft)
		}
		if err := writeDraft(cmd, out, draft.YAML); err != nil {
			return err
		}
		printFound(cmd, draft, lines, out, from)
		return nil
	}
	return cmd
}

// adder adds events to a sample as ingest would find them in their envelopes.
func adder(sample *infer.Sample, wrapped []string) (func(line int64, body []byte) error, error) {
	var layers []unwrap.Kind
	if len(wrapped) > 0 {
		var err error
		if layers, err = unwrap.ParseLayers(strings.Join(wrapped, ",")); err != nil {
			return nil, fmt.Errorf("reading --unwrap: %w", err)
		}
	}
	// An event of a file may be larger than what --max-body lets ingest unpack: it is the decoder that judges sizes here.
	opener := unwrap.New(unwrap.Config{Layers: layers, MaxBody: 16 << 20})
	return func(line int64, body []byte) error {
		switch opened := opener.Open(body, nil); {
		case opened.Pointer != nil:
			return errors.New("it lies in S3, where nothing is read: download the objects, and draft from those")
		case opened.Rejection.Reason != "":
			sample.Reject(line, opened.Rejection.Reason)
		default:
			sample.Add(line, opened.Body)
		}
		return nil
	}, nil
}

// sourceName is what a draft calls its sample: no directory, which may say who made it.
func sourceName(from string) string {
	if from == "-" {
		return "standard input"
	}
	return filepath.Base(from)
}

func writeDraft(cmd *cobra.Command, out string, draft []byte) error {
	if out == "" {
		_, err := cmd.OutOrStdout().Write(draft)
		return err
	}
	file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("writing the draft: %w: a draft overwrites nothing: give --out another name", err)
	case err != nil:
		return fmt.Errorf("writing the draft: %w", err)
	}
	_, err = file.Write(draft)
	return errors.Join(err, file.Close())
}

// printFound says what a person must know before applying the draft.
func printFound(cmd *cobra.Command, d *infer.Draft, lines int64, out, from string) {
	cli.Note(cmd, "looked at %d of %s of %s", d.Events, cli.Count(lines, "event"), sourceName(from))
	for _, note := range d.Skipped() {
		cli.Note(cmd, "%s", note)
	}
	cli.Note(cmd, "judged personal, and sealed: %s", none(d.Sealed()))
	cli.Note(cmd, "NOT judged personal, and stored in clear: %s", none(d.Clear()))
	if out != "" {
		cli.Note(cmd, "a sample proves nothing: read each line of %s. Then: keys dataset lint %s", out, out)
	}
}

func none(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
