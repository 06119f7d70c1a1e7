package keyscmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// countTimeout bounds a statement: that nothing is left is counted in one, over the whole table.
const countTimeout = 15 * time.Minute

// jobFlags are the flags of the steps of the rotation job.
type jobFlags struct {
	vault          *cli.VaultFlags
	dryRun, asJSON bool
	metricsFile    string
	ownerURL       string
	rotation.Options
}

// jobFlagNames are the flags that declarePass and declareJob declare.
var jobFlagNames = []string{
	"dry-run", "json", "metrics-file", "patience", "rate", "max-lag", "pause-file", "rest", "workers", "batch-rows",
}

// declareJob declares what every step has.
func declareJob(cmd *cobra.Command, vault *cli.VaultFlags) *jobFlags {
	j := &jobFlags{vault: vault}
	f := cli.Of(cmd)
	f.Bool(&j.dryRun, "dry-run", "say what would be done, and change nothing")
	f.Bool(&j.asJSON, "json", "print JSON")
	f.String(&j.metricsFile, "metrics-file", "", "write metrics for node_exporter's textfile collector to this FILE.prom")
	f.Duration(&j.Patience, "patience", 10*time.Minute, cli.Between(time.Second, 24*time.Hour),
		"how long to wait for locks, outages and old transactions")
	f.Hide("patience")
	return j
}

// declarePass declares what the steps have that go over rows.
func declarePass(cmd *cobra.Command, vault *cli.VaultFlags) *jobFlags {
	j := declareJob(cmd, vault)
	f := cli.Of(cmd)
	f.Float(&j.Rate, "rate", 0, cli.Between(1.0, 1e6).OrZero("no limit"), "most rows a second")
	f.Duration(&j.MaxLag, "max-lag", 0, cli.Between(100*time.Millisecond, time.Hour).OrZero("do not look"),
		"pause while a standby lags by more")
	f.String(&j.PauseFile, "pause-file", "", "pause while this file exists")
	f.Float(&j.Rest, "rest", 4, cli.Between(0.0, 100.0),
		"while loads run, rest this many times as long as each batch took; 0: do not rest")
	f.Int(&j.Workers, "workers", 2, cli.Between(1, 64), "database connections that work at once")
	f.Int(&j.BatchRows, "batch-rows", 2000, cli.Between(1, 100_000), "rows in a transaction")
	f.Hide("rest", "workers", "batch-rows")
	return j
}

// declareOwner declares the login that may build indexes concurrently, for the steps that reindex.
func (j *jobFlags) declareOwner(cmd *cobra.Command) {
	cli.Of(cmd).Secret(&j.ownerURL, "owner-url",
		"Postgres as the login of keys init: large indexes are built without holding up loads")
}

// options are the step's options; end closes what they hold open.
func (j *jobFlags) options() (o rotation.Options, end func(), err error) {
	o = j.Options
	o.DryRun = j.dryRun
	if o.Rest == 0 {
		o.Rest = -1 // its zero is the default
	}
	if j.ownerURL == "" {
		return o, func() {}, nil
	}
	db, err := cli.OpenDBAt(j.ownerURL, cli.VaultConfig{
		Program: "keys", Role: pg.Owner, StatementTimeout: -1, LockTimeout: -1, MaxConns: 2,
	})
	if err != nil {
		return o, nil, fmt.Errorf("opening --owner-url: %w", err)
	}
	o.Owner = db
	return o, func() { db.Close() }, nil
}

// step is one step of the rotation job.
type step func(context.Context, *keys.Vault, rotation.Options) (rotation.Report, error)

// run runs a step and prints what it did, also where it failed after it had done something.
func (j *jobFlags) run(cmd *cobra.Command, do step) error {
	metrics, err := newTextfile(j.metricsFile, cmd.Name())
	if err != nil {
		return err
	}
	v, closeVault, err := j.vault.Open(cmd.Context(), cli.VaultConfig{Program: "keys", StatementTimeout: countTimeout})
	if err != nil {
		return err
	}
	defer closeVault()
	o, end, err := j.options()
	if err != nil {
		return err
	}
	defer end()
	progress := cli.StartProgress(cmd)
	defer progress.End()
	o.Progress = func(p rotation.Progress) { progress.Step(p.Step, nounOf(p.Step), p.Done, p.Rows) }
	report, err := do(cmd.Context(), v, o)
	progress.End()
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w: it was asked to stop; what was done is kept: run it again", keys.ErrUnfinished)
	}
	if err == nil && report.Verified != nil && report.Verified.FailureCount > 0 {
		err = cli.Exit(cli.ExitIntegrity, fmt.Errorf("%s: run keys verify --all", wrongThings(report.Verified.FailureCount)))
	}
	err = errors.Join(err, metrics.write(&report, err != nil))
	if j.asJSON {
		return errors.Join(err, cli.PrintJSON(cmd.OutOrStdout(), report))
	}
	printReport(cmd.OutOrStdout(), &report, err != nil)
	return err
}

func nounOf(step string) string {
	switch step {
	case "rewrap":
		return "key"
	case "rejections":
		return "rejection"
	}
	return "row"
}

func wrongThings(n int) string {
	return cli.Count(n, "thing is not as it should be", "things are not as they should be")
}
