package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/internal/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

type ingestFlags struct {
	from, source, date string
	asJSON             bool
	seals, sealBytes   uint64
	keyAge             time.Duration
	batchRows, loaders int
	batchDelay         time.Duration
	maxOutage          time.Duration
}

func newIngestCommand() *cobra.Command {
	var f ingestFlags
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Take events from a queue or a file, seal them and load them",
		Long: `Take events from a queue or a file, seal what is personal in them and load them into Postgres.

Exit codes: 0 done · 1 usage or other · 2 not finished, run again · 5 integrity · 6 key or KMS unavailable ·
8 database unavailable.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runIngest(cmd, &f) },
	}
	cli.AddVaultFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "read JSON Lines or a JSON array from FILE, or from standard input (-), instead of the queue")
	flags.StringVar(&f.source, "source", "", "with --from: the source's name, which makes the events' ids (default: the file's SHA-256)")
	flags.StringVar(&f.date, "date", "", "with --from: create_date of the events, YYYY-MM-DD (default: the file's modification date, UTC)")
	flags.BoolVar(&f.asJSON, "json", false, "print the summary as JSON")
	flags.Uint64Var(&f.seals, "data-key-seals", 0, "values that one data key seals at the most (default and ceiling 2^28)")
	flags.Uint64Var(&f.sealBytes, "data-key-bytes", 0, "bytes that one data key seals at the most (default and ceiling 64 GiB)")
	flags.DurationVar(&f.keyAge, "data-key-age", 0, "how long one data key seals at the most (default and ceiling 1h)")
	flags.IntVar(&f.batchRows, "batch-rows", 2000, "events in a batch at the most")
	flags.DurationVar(&f.batchDelay, "batch-delay", 100*time.Millisecond, "a batch waits this long for more events")
	flags.IntVar(&f.loaders, "loaders", 2, "database connections that load")
	flags.DurationVar(&f.maxOutage, "max-outage", time.Minute, "with --from: how long the database or KMS may be away before giving up")
	return cmd
}

func runIngest(cmd *cobra.Command, f *ingestFlags) error {
	if f.from == "" {
		return errors.New("name the input: --from FILE, or --from - for standard input")
	}
	w, closeVault, err := openWriter(cmd, f)
	if err != nil {
		return err
	}
	defer closeVault()
	source, closeFile, err := etl.OpenFile(cmd.Context(), w, etl.FileOptions{
		Path: f.from, Name: f.source, Date: f.date, Stdin: cmd.InOrStdin(),
	})
	if err != nil {
		return err
	}
	defer closeFile()
	summary, err := etl.Run(cmd.Context(), w, source, etl.Options{
		BatchRows: f.batchRows, BatchDelay: f.batchDelay, Loaders: f.loaders, MaxOutage: f.maxOutage, Log: slog.Default(),
	})
	if printErr := printSummary(cmd.OutOrStdout(), summary, f.asJSON); err == nil {
		err = printErr
	}
	if err == nil && summary.Abandoned > 0 {
		return cli.Exit(keys.ExitUnfinished, fmt.Errorf("stopped before the end: run the same command again, nothing is stored twice"))
	}
	return err
}

// openWriter opens the vault for writing. The second result closes it.
func openWriter(cmd *cobra.Command, f *ingestFlags) (*etl.Writer, func(), error) {
	url, err := cli.DatabaseURL(cmd)
	if err != nil {
		return nil, nil, err
	}
	set, err := kek.Open(cmd.Context(), cli.Value(cmd, "kek"))
	if err != nil {
		return nil, nil, err
	}
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom ingest", MaxConns: f.loaders + 3})
	if err != nil {
		return nil, nil, err
	}
	caps := keys.Caps{Seals: f.seals, Bytes: f.sealBytes, Age: f.keyAge}
	w, err := etl.NewWriter(cmd.Context(), &keys.Vault{DB: db, KEK: set}, dataset.Login(), caps)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return w, func() { db.Close() }, nil
}

// printSummary prints one line, or JSON.
func printSummary(w io.Writer, s etl.Summary, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	line := fmt.Sprintf("%d received · %d stored · %d duplicates dropped · %d rejected", s.Received, s.Stored, s.Duplicates, s.Rejected)
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
