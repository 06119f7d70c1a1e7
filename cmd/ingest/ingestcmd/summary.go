package ingestcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/etl/source"
	"cloakroom/internal/cli"
)

// finish prints a run's summary and turns its end into an exit code.
func finish(cmd *cobra.Command, f *ingestFlags, s etl.Summary, err error) error {
	if printErr := printSummary(cmd.OutOrStdout(), s, f); err == nil {
		err = printErr
	}
	switch {
	case errors.Is(err, source.ErrNotDrained), errors.Is(err, errStopped):
		return cli.Exit(cli.ExitUnfinished, err)
	case err == nil && s.Abandoned > 0:
		return cli.Exit(cli.ExitUnfinished, fmt.Errorf("stopped before %d events were committed: run again, nothing is lost or stored twice", s.Abandoned))
	}
	return err
}

func printSummary(w io.Writer, s etl.Summary, f *ingestFlags) error {
	if f.asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	stored := "stored"
	if f.dryRun {
		stored = "would be stored"
	}
	line := fmt.Sprintf("%d received · %d %s · %d duplicates dropped · %d rejected", s.Received, s.Stored, stored, s.Duplicates, s.Rejected)
	if len(s.Rejections) > 0 {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(s.Rejections)) {
			reasons = append(reasons, fmt.Sprintf("%s %d", reason, s.Rejections[reason]))
		}
		line += " (" + strings.Join(reasons, ", ") + ")"
	}
	if s.Abandoned > 0 {
		line += fmt.Sprintf(" · %d not committed", s.Abandoned)
	}
	_, err := fmt.Fprintf(w, "%s · %.1f s\n", line, s.Seconds)
	return err
}
