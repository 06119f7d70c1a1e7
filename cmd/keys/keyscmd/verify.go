package keyscmd

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Open rows and rejections, recompute tokens, check every wrapped key; prints no value",
		Long: `Open rows and rejections, recompute their tokens, unwrap every key and compare it with its key check; look at columns,
indexes and views, and for rows whose key is gone. Without --all it opens a sample of each month. Prints counts and the ids of what is wrong, never a value; exits 5 if anything is.

It takes the rotator's login: only that role may both open and see tokens.`,
		Args: cobra.NoArgs,
	}
	all := cmd.Flags().Bool("all", false, "every row, not a sample of each month")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, closeVault, err := openVault(cmd)
		if err != nil {
			return err
		}
		defer closeVault()
		show, ended := showProgress(cmd)
		report, err := v.Verify(cmd.Context(), dataset.Login(), keys.VerifyOptions{All: *all, Progress: func(rows int) {
			show(rotation.Progress{Step: "verify", Done: int64(rows)})
		}})
		ended()
		if err != nil {
			return err
		}
		if *asJSON {
			err = cli.PrintJSON(cmd.OutOrStdout(), report)
		} else {
			err = printVerification(cmd.OutOrStdout(), report)
		}
		if err == nil && report.FailureCount > 0 {
			return cli.Exit(cli.ExitIntegrity, fmt.Errorf("%d things are not as they should be: compare with a backup (docs/operations.md)", report.FailureCount))
		}
		return err
	}
	return cmd
}

func printVerification(w io.Writer, r *keys.Verification) error {
	fmt.Fprintf(w, "keys         %d unwrapped", r.Keys)
	if len(r.Unneeded) > 0 {
		fmt.Fprintf(w, "; nothing refers to %s any more (keys retire)", keyList(r.Unneeded))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "rows         %d/%d open and match their tokens\n", r.Opened, r.Rows-r.Erased)
	if r.Erased > 0 {
		fmt.Fprintf(w, "erased       %d\n", r.Erased)
	}
	fmt.Fprintf(w, "rejections   %d/%d open\n", r.RejectionsOpened, r.Rejections)
	for _, f := range r.Failures {
		what := cmp.Or(f.MessageID, f.Key, f.Part)
		if f.Field != "" {
			what += " " + f.Field
		}
		fmt.Fprintf(w, "FAILED       %s: %s\n", what, f.Problem)
	}
	if more := r.FailureCount - len(r.Failures); more > 0 {
		fmt.Fprintf(w, "FAILED       and %d more\n", more)
	}
	return nil
}
