package keyscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Do what the policy says is due: the job for cron",
		Long: `Do what the vault's policy says is due, in the right order, and nothing where nothing is: make the months ahead, purge
old rejections, rewrap under the wanted KEK, reseal what old data keys hold, retire keys that nothing refers to, reindex under
a new index key; then verify a sample. Safe to kill and to run again, twice at once, and under ingest.

Exit codes: 0 done · 2 not finished, run again · 5 rows do not open and are quarantined · 6 KEK · 8 database.`,
		Args: cobra.NoArgs,
	}
	flags := addJobFlags(cmd)
	force := cmd.Flags().Bool("force", false, "all data keys are due, whatever their age")
	owner := addOwnerFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runJob(cmd, flags, owner, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			o.Force = *force
			return rotation.Rotate(ctx, v, dataset.Login(), o)
		})
	}
	return cmd
}

// jobFlags are the flags that every step of the rotation job has.
type jobFlags struct {
	dryRun, asJSON     *bool
	rate, rest         *float64
	maxLag, patience   *time.Duration
	pauseFile, metrics *string
	workers, batchRows *int
}

func addJobFlags(cmd *cobra.Command) *jobFlags {
	f := cmd.Flags()
	return &jobFlags{
		dryRun:    f.Bool("dry-run", false, "say what would be done and change nothing"),
		asJSON:    f.Bool("json", false, "print JSON"),
		rate:      f.Float64("rate", 0, "rows a second at the most; 0: no limit"),
		rest:      f.Float64("rest", 4, "while loads run, rest so many times as long as each batch took; 0: do not"),
		maxLag:    f.Duration("max-lag", 0, "pause while a standby lags by more, 5s for instance; 0: do not look"),
		patience:  f.Duration("patience", 10*time.Minute, "how long to wait for locks, outages and old transactions"),
		pauseFile: f.String("pause-file", "", "pause while this file exists"),
		metrics:   f.String("metrics-file", "", "where to write metrics for node_exporter's textfile collector, FILE.prom"),
		workers:   f.Int("workers", 2, "database connections that work at once"),
		batchRows: f.Int("batch-rows", 2000, "rows in a transaction"),
	}
}

func (f *jobFlags) options() rotation.Options {
	rest := *f.rest
	if rest <= 0 {
		rest = -1 // its zero is the default
	}
	return rotation.Options{
		DryRun: *f.dryRun, Rate: *f.rate, Rest: rest, MaxLag: *f.maxLag, Patience: *f.patience, PauseFile: *f.pauseFile,
		Workers: *f.workers, BatchRows: *f.batchRows,
	}
}

func addOwnerFlag(cmd *cobra.Command) *string {
	url := cmd.Flags().String("owner-url", "", "Postgres as the login of keys init, so that reindex builds large indexes without holding up loads")
	cli.MarkSecret(cmd.Flags(), "owner-url")
	return url
}

// runJob runs one step of the rotation job and prints what it did, also where it failed.
func runJob(cmd *cobra.Command, f *jobFlags, ownerURL *string, step func(context.Context, *keys.Vault, rotation.Options) (rotation.Report, error)) error {
	metrics, err := newTextfile(*f.metrics, cmd.Name())
	if err != nil {
		return err
	}
	v, closeVault, err := openVault(cmd)
	if err != nil {
		return err
	}
	defer closeVault()
	o := f.options()
	if ownerURL != nil && *ownerURL != "" {
		db, err := pg.Open(pg.Config{URL: *ownerURL, ApplicationName: "cloakroom keys", Role: pg.Owner, StatementTimeout: -1, LockTimeout: -1, MaxConns: 2})
		if err != nil {
			return err
		}
		defer db.Close()
		o.Owner = db
	}
	progress, endProgress := showProgress(cmd)
	o.Progress = progress
	report, err := step(cmd.Context(), v, o)
	endProgress()
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w: it was asked to stop; what was done is kept, run it again", keys.ErrUnfinished)
	}
	if err == nil && report.Verified != nil && report.Verified.FailureCount > 0 {
		err = cli.Exit(cli.ExitIntegrity, fmt.Errorf("%d things are not as they should be: run keys verify --all", report.Verified.FailureCount))
	}
	err = errors.Join(err, metrics.write(&report, err != nil))
	if *f.asJSON {
		return errors.Join(err, cli.PrintJSON(cmd.OutOrStdout(), report))
	}
	printReport(cmd.OutOrStdout(), &report)
	return err
}

// printReport prints what was done on one line, and what is wrong on lines of its own.
func printReport(w io.Writer, r *rotation.Report) {
	var done []string
	say := func(yes bool, format string, args ...any) {
		if yes {
			done = append(done, fmt.Sprintf(format, args...))
		}
	}
	say(r.MonthsMade > 0, "%d months made", r.MonthsMade)
	say(r.Purged > 0, "%d old rejections purged", r.Purged)
	say(r.Rewrapped > 0, "%d keys rewrapped", r.Rewrapped)
	switch {
	case len(r.Due) > 0 && len(r.NewKeys) > 0:
		say(true, "data %s → %s", keyList(r.Due), idList(r.NewKeys))
	case len(r.Closed) > 0:
		say(true, "%s closed", keyList(r.Closed))
	}
	say(r.Resealed > 0, "%d resealed", r.Resealed)
	say(r.Rejections > 0, "%d rejections resealed", r.Rejections)
	say(len(r.Retired) > 0, "%s retired", keyList(r.Retired))
	say(r.Reindexed != nil, "index key v%d → v%d, %d rows reindexed", value(r.Reindexed).From, value(r.Reindexed).To, value(r.Reindexed).Rows)
	say(len(r.Shredded) > 0, "%s shredded", keyList(r.Shredded))
	say(r.Cleared > 0, "%d rows cleared", r.Cleared)
	say(r.ClearedRejections > 0, "%d rejections cleared", r.ClearedRejections)
	if len(done) == 0 {
		done = []string{"nothing was due"}
	}
	would := ""
	if r.DryRun {
		would = "would be: "
	}
	fmt.Fprintln(w, would+strings.Join(done, " · "))
	for i, q := range r.Quarantined {
		if i == 100 {
			fmt.Fprintf(w, "QUARANTINED  and %d more (--json)\n", len(r.Quarantined)-i)
			break
		}
		fmt.Fprintf(w, "QUARANTINED  %s (data key %d): %s\n", q.MessageID, q.DataKey, q.Problem)
	}
}

func value(r *rotation.Reindexed) rotation.Reindexed {
	if r == nil {
		return rotation.Reindexed{}
	}
	return *r
}

// keyList is "key 1" or "keys 1, 2".
func keyList(ids []uint32) string {
	if len(ids) == 1 {
		return "key " + idList(ids)
	}
	return "keys " + idList(ids)
}

func idList(ids []uint32) string {
	var out []string
	for i, id := range ids {
		if i == 8 {
			return strings.Join(out, ", ") + fmt.Sprintf(" and %d more", len(ids)-i)
		}
		out = append(out, strconv.FormatUint(uint64(id), 10))
	}
	return strings.Join(out, ", ")
}
