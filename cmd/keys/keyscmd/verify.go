package keyscmd

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys/verify"
)

func newVerifyCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Open rows and rejections, recompute tokens, check every wrapped key; prints no value",
		Long: `Open rows and rejections, recompute their tokens, unwrap every key and compare it with its key
check; look at columns, indexes and views, and for rows whose key is gone. Without --all it opens a
sample of each month. It prints counts and the ids of what is wrong, never a value, and exits 5 if
anything is.

It takes the rotator's login: only that role may both open values and see tokens.`,
		Example: "  keys verify\n  keys verify --all --json",
		Args:    cli.Args(),
	}
	var all, asJSON bool
	var only string
	f := cli.Of(cmd)
	f.Bool(&all, "all", "open every row, not a sample of each month")
	f.String(&only, "dataset", "", "rows of this dataset alone; without it, of all")
	f.Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{Program: "keys", StatementTimeout: countTimeout})
		if err != nil {
			return err
		}
		defer closeVault()
		progress := cli.StartProgress(cmd)
		defer progress.End()
		report, err := verify.Run(cmd.Context(), v, verify.Options{All: all, Dataset: only, Progress: func(rows int) {
			progress.Step("verify", "row", int64(rows), 0)
		}})
		progress.End()
		if err != nil {
			return err
		}
		if asJSON {
			err = cli.PrintJSON(cmd.OutOrStdout(), report)
		} else {
			printVerification(cmd.OutOrStdout(), report)
		}
		if err == nil && report.FailureCount > 0 {
			return cli.Exit(cli.ExitIntegrity, fmt.Errorf("%s: compare with a backup (docs/operations.md)",
				wrongThings(report.FailureCount)))
		}
		return err
	}
	return cmd
}

func printVerification(w io.Writer, r *verify.Report) {
	cli.Printf(w, "keys         %d unwrapped", r.Keys)
	if len(r.Unneeded) > 0 {
		cli.Printf(w, "; nothing refers to %s any more (keys retire)", keyList(r.Unneeded))
	}
	cli.Printf(w, "\nrows         %d/%d open and match their tokens\n", r.Opened, r.Rows-r.Erased)
	if r.Erased > 0 {
		cli.Printf(w, "erased       %d\n", r.Erased)
	}
	cli.Printf(w, "rejections   %d/%d open\n", r.RejectionsOpened, r.Rejections)
	for _, f := range r.Failures {
		what := cmp.Or(f.RowID, f.Key, f.Part)
		if f.Dataset != "" {
			what = f.Dataset + " " + what
		}
		if f.Date != "" {
			what += " of " + f.Date
		}
		if f.Field != "" {
			what += " " + f.Field
		}
		cli.Printf(w, "FAILED       %s: %s\n", what, f.Problem)
	}
	if more := r.FailureCount - len(r.Failures); more > 0 {
		cli.Printf(w, "FAILED       and %d more\n", more)
	}
}
