package recovercmd

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
	"cloakroom/recover/auditlog"
)

func newReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report --from DATE --to DATE",
		Short: "Who asked, who approved, what was opened, how old the keys are, and whether the log verifies",
		Args:  cobra.NoArgs,
		RunE:  runReport,
	}
	f := cmd.Flags()
	f.String("from", "", "first date, YYYY-MM-DD, UTC")
	f.String("to", "", "last date, YYYY-MM-DD, UTC")
	f.StringSlice("checkpoints", nil, "checkpoints kept elsewhere, files or directories, to verify the log against")
	f.String("public-key", "", "the witness's public key file")
	f.StringSlice("kms-log", nil, "CloudTrail log file to compare the openings with; may be repeated")
	f.StringSlice("kms-expected", nil, "ARN whose work it is to decrypt data keys: the rotator's; may be repeated")
	f.Bool("json", false, "print JSON")
	return cmd
}

func runReport(cmd *cobra.Command, _ []string) error {
	from, err := parseDate("from", cli.Value(cmd, "from"))
	if err != nil {
		return err
	}
	to, err := parseDate("to", cli.Value(cmd, "to"))
	if err != nil {
		return err
	}
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return errors.New("--from and --to are needed, in order")
	}
	var checkpoints []auditlog.Checkpoint
	if paths, _ := cmd.Flags().GetStringSlice("checkpoints"); len(paths) > 0 {
		if checkpoints, err = readCheckpoints(cmd); err != nil {
			return err
		}
	}
	c, done, err := newClient(cmd, false)
	if err != nil {
		return err
	}
	defer done()
	r, err := c.MakeReport(cmd.Context(), from, to.AddDate(0, 0, 1), checkpoints)
	if err != nil {
		return err
	}
	if err := addKMSLogs(cmd, c, r); err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		err = cli.PrintJSON(cmd.OutOrStdout(), r)
	} else {
		printReport(cmd.OutOrStdout(), r)
	}
	if err == nil && r.Log.Problem != "" {
		return fmt.Errorf("%w", auditlog.ErrInvalid)
	}
	return err
}

func addKMSLogs(cmd *cobra.Command, c *recovery.Client, r *recovery.Report) error {
	paths, _ := cmd.Flags().GetStringSlice("kms-log")
	expected, _ := cmd.Flags().GetStringSlice("kms-expected")
	if len(paths) == 0 {
		return nil
	}
	s, err := c.Vault.Settings(cmd.Context())
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("reading the KMS log: %w", err)
		}
		err = r.AddKMSLog(s.ID.String(), f, expected)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func printReport(w io.Writer, r *recovery.Report) {
	fmt.Fprintf(w, "recover, %s to %s (UTC)\n\n", r.From.Format(time.DateOnly), r.To.AddDate(0, 0, -1).Format(time.DateOnly))
	printLogState(w, r)
	fmt.Fprintf(w, "requests   %d, denied %d, refused attempts %d, failed openings %d, rows opened %d of %d frozen\n\n",
		r.Requests, r.Denials, r.Refusals, r.Failures, r.Rows, r.Frozen)
	printTallies(w, "PURPOSE", r.Purposes)
	printTallies(w, "LOGIN", r.People)
	for _, id := range r.Unfinished {
		fmt.Fprintf(w, "unfinished  request %s: intent without outcome; take its rows for seen\n", visible(id))
	}
	for _, b := range r.BreakGlass {
		state := "NOT REVIEWED"
		if b.Reviewed != "" {
			state = "reviewed by " + b.Reviewed
		}
		fmt.Fprintf(w, "break-glass request %s by %s at %s, %s, %s: %s\n", visible(b.Request), visible(b.Actor), b.At.Format(time.DateTime), visible(b.Purpose), visible(b.Ticket), visible(state))
	}
	printKeys(w, r)
	for _, l := range r.Rotation {
		fmt.Fprintf(w, "vault       leaf %d, %s, %s by %s\n", l.Seq, l.TS.Format(time.DateTime), visible(l.Type), visible(l.Actor))
	}
	if r.KMS != nil {
		printKMS(w, r.KMS)
	}
}

func printLogState(w io.Writer, r *recovery.Report) {
	switch {
	case r.Log.Problem != "":
		fmt.Fprintf(w, "log        INVALID: %s\n", visible(r.Log.Problem))
	case r.Log.Verified:
		fmt.Fprintf(w, "log        valid: %d leaves, root %s, %d under a checkpoint\n", r.Log.Size, r.Log.Root, r.Log.Covered)
	default:
		fmt.Fprintf(w, "log        %d leaves, root %s, not compared with any checkpoint (--checkpoints)\n", r.Log.Size, r.Log.Root)
	}
	if len(r.ClockBack) > 0 {
		fmt.Fprintf(w, "clock      went back before leaves %v\n", r.ClockBack)
	}
}

func printTallies(w io.Writer, name string, tallies map[string]*recovery.Tally) {
	if len(tallies) == 0 {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\tREQUESTS\tAPPROVALS\tDENIALS\tOPENINGS\tFROZEN\tROWS\n", name)
	for _, key := range slices.Sorted(maps.Keys(tallies)) {
		t := tallies[key]
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", visible(key), t.Requests, t.Approvals, t.Denials, t.Openings, t.Frozen, t.Rows)
	}
	_ = table.Flush()
	fmt.Fprintln(w)
}

func printKeys(w io.Writer, r *recovery.Report) {
	states := map[string]int{}
	for _, k := range r.Keys {
		states[k.Kind+" "+k.State]++
		if k.Overdue {
			fmt.Fprintf(w, "overdue     %s key %d, made %s\n", k.Kind, k.ID, k.CreatedAt.Format(time.DateOnly))
		}
	}
	for _, state := range slices.Sorted(maps.Keys(states)) {
		fmt.Fprintf(w, "keys        %s: %d\n", state, states[state])
	}
}

func printKMS(w io.Writer, k *recovery.KMSReport) {
	fmt.Fprintf(w, "kms         %d decrypts of data keys: %d within openings, %d by expected principals, %d unexplained; %d refused by KMS\n",
		k.Decrypts, k.Explained, k.Expected, len(k.Unexplained), k.Refused)
	for _, d := range k.Unexplained {
		fmt.Fprintf(w, "UNEXPLAINED data key %d decrypted at %s by %s from %s (event %s)\n", d.DataKey, d.Time.Format(time.DateTime), visible(d.Principal), visible(d.SourceIP), visible(d.EventID))
	}
}
