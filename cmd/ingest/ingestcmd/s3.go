package ingestcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/etl/source"
	"cloakroom/internal/cli"
)

// isS3 tells --from s3://BUCKET/PREFIX from a file's name.
func isS3(from string) bool { return strings.HasPrefix(from, "s3://") }

// ingestS3 reads the objects under a prefix, once.
func ingestS3(cmd *cobra.Command, s *settings) error {
	bucket, prefix, ok := source.ParseS3(s.from)
	switch {
	case !ok:
		return fmt.Errorf("reading --from %s: want s3://BUCKET or s3://BUCKET/PREFIX", s.from)
	case s.source != "":
		return errors.New("--source does not go with --from s3://…: each object is a source of its own name")
	}
	w, input, closeVault, err := s.openFrom(cmd.Context(), "s3")
	if err != nil {
		return err
	}
	defer closeVault()
	o := s.options()
	from, err := source.OpenS3(cmd.Context(), w, source.S3Options{
		Bucket: bucket, Prefix: prefix, Date: s.date, DryRun: s.dryRun, Readers: s.receivers, MaxOutage: o.MaxOutage,
		Log: slog.Default(),
	})
	if err != nil {
		return err
	}
	o.Receivers = 1
	done, err := moveS3(cmd, s, w, from, input(from), o)
	closing, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), closeTimeout)
	defer cancel()
	from.Close(closing)
	counts := from.Counts()
	if printErr := printS3(cmd.OutOrStdout(), s, done, counts); err == nil {
		err = printErr
	}
	if err == nil && cmd.Context().Err() != nil {
		return cli.Exit(cli.ExitUnfinished, errors.New("stopped before all objects were read: run again, it goes on after "+
			"the events that are committed"))
	}
	if err = outcome(done, err); err == nil {
		err = objectsOutcome(s, counts)
	}
	return err
}

func moveS3(
	cmd *cobra.Command, s *settings, w *etl.Writer, from *source.S3, inputs []etl.Input, o etl.Options,
) (etl.Summary, error) {
	p := &progress{}
	o.Observe = p
	shown := cli.StartProgress(cmd)
	defer shown.End()
	shown.Status(func() string {
		c := from.Counts()
		return fmt.Sprintf("%s · %s · %s", p.moved(), cli.Count(c.Read, "object"), cli.Bytes(c.Bytes))
	})
	if s.dryRun {
		return etl.DryRun(cmd.Context(), w, inputs, s.lister(cmd))
	}
	return etl.RunInputs(cmd.Context(), w, inputs, o)
}

// printS3 prints a summary with what became of the objects.
func printS3(w io.Writer, s *settings, done etl.Summary, c source.S3Counts) error {
	if s.asJSON {
		return cli.PrintJSONLine(w, struct {
			etl.Summary
			Objects source.S3Counts `json:"objects"`
		}{done, c})
	}
	if err := printSummary(w, s, done); err != nil {
		return err
	}
	line := fmt.Sprintf("%s read (%s)", cli.Count(c.Read, "object"), cli.Bytes(c.Bytes))
	for _, part := range []struct {
		n    int64
		text string
	}{
		{c.ReadBefore, "%d left out, an earlier run read them"},
		{c.Deleted, "%d deleted meanwhile"},
		{c.Changed, "%d overwritten meanwhile"},
		{c.Failed, "%d not readable"},
		{c.EventsBefore, "%d events left out, an earlier run committed them"},
	} {
		if part.n > 0 {
			line += " · " + fmt.Sprintf(part.text, part.n)
		}
	}
	cli.Printf(w, "%s\n", line)
	return nil
}

// objectsOutcome makes an error of objects that were not read to their end.
func objectsOutcome(s *settings, c source.S3Counts) error {
	switch {
	case c.Failed > 0:
		more := ""
		if c.Failed > 1 {
			more = fmt.Sprintf(" (and %d more, which the log names)", c.Failed-1)
		}
		if s.dryRun {
			return fmt.Errorf("reading %s%s", c.FirstFailure, more)
		}
		return fmt.Errorf("reading %s%s: what stands before that is stored. Mend a copy and load it with --from FILE "+
			"--source NAME, where NAME is s3://… as above: its first events are then dropped as duplicates",
			c.FirstFailure, more)
	case c.Deleted+c.Changed > 0 && !s.dryRun:
		return cli.Exit(cli.ExitUnfinished, fmt.Errorf("%s deleted or overwritten between listing and reading: run again to "+
			"read what is there now", wereObjects(c.Deleted+c.Changed)))
	}
	return nil
}

func wereObjects(n int64) string {
	if n == 1 {
		return "1 object was"
	}
	return fmt.Sprintf("%d objects were", n)
}
