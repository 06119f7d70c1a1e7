package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
	"cloakroom/recover/auditlog"
)

// reportFlags are the flags of recover report.
type reportFlags struct {
	checkpointSource
	from, to    time.Time
	kmsLogs     []string
	kmsExpected []string
	asJSON      bool
}

func (p *program) newReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report --from DATE --to DATE",
		Short: "Who requested, who approved, what was opened, how old the keys are, and whether the log verifies",
		Example: "  recover report --from 2026-01-01 --to 2026-03-31 " +
			"--public-key signer.pub --checkpoints /mnt/checkpoints",
		Args: cli.Args(),
	}
	var o reportFlags
	f := cli.Of(cmd)
	f.Date(&o.from, "from", "first date, YYYY-MM-DD, UTC")
	f.Date(&o.to, "to", "last date, YYYY-MM-DD, UTC")
	o.declare(f)
	f.List(&o.kmsLogs, "kms-log", "CloudTrail log files to compare the openings with", nil)
	f.List(&o.kmsExpected, "kms-expected", "other principals whose work it is, ROLE=ARN of rotator, ingest or init", nil)
	f.Bool(&o.asJSON, "json", "print JSON")
	f.Require("from", "to")
	f.Needs("checkpoints", "public-key")
	f.Needs("public-key", "checkpoints")
	f.Needs("kms-expected", "kms-log")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.runReport(cmd, o) }
	return cmd
}

// runReport prints the report even of a log that does not verify, because then it is needed most,
// and ends with that error.
func (p *program) runReport(cmd *cobra.Command, o reportFlags) error {
	if o.to.Before(o.from) {
		return cli.Usage(cmd, errDatesReversed)
	}
	var checkpoints []auditlog.Checkpoint
	if len(o.paths) > 0 {
		var err error
		if checkpoints, err = o.read(); err != nil {
			return err
		}
	}
	c, done, err := p.client(cmd.Context(), withoutKEK)
	if err != nil {
		return err
	}
	defer done()
	r, err := c.MakeReport(cmd.Context(), o.from, o.to.AddDate(0, 0, 1), checkpoints)
	if err != nil {
		return err
	}
	if err := o.addKMSLogs(cmd.Context(), c, r); err != nil {
		return err
	}
	if o.asJSON {
		err = cli.PrintJSON(cmd.OutOrStdout(), r)
	} else {
		err = printReport(cmd.OutOrStdout(), r)
	}
	if err == nil && r.Log.Problem != "" {
		return auditlog.ErrInvalid
	}
	return err
}

// addKMSLogs compares the openings with CloudTrail's log files. They need not overlap or be in
// order.
func (o *reportFlags) addKMSLogs(ctx context.Context, c *recovery.Client, r *recovery.Report) error {
	if len(o.kmsLogs) == 0 {
		return nil
	}
	s, err := c.Vault.Settings(ctx)
	if err != nil {
		return err
	}
	var logs []io.Reader
	for _, path := range o.kmsLogs {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("reading the KMS log: %w", err)
		}
		defer f.Close()
		logs = append(logs, f)
	}
	return r.AddKMSLogs(s.ID.String(), o.kmsExpected, logs...)
}

// printReport prints what an auditor of the auditors reads from top to bottom: whether to believe
// the log, the sums, each opening, then all that is unusual.
func printReport(w io.Writer, r *recovery.Report) error {
	last := r.To.AddDate(0, 0, -1) // r.To is exclusive
	cli.Printf(w, "recover, %s to %s (UTC)\n\n", r.From.Format(time.DateOnly), last.Format(time.DateOnly))
	printLogState(w, r)
	cli.Printf(w, "requests   %d, denied %d, refused attempts %d, failed openings %d, rows opened %d of %d frozen\n\n",
		r.Requests, r.Denials, r.Refusals, r.Failures, r.Rows, r.Frozen)
	err := errors.Join(
		printTallies(w, "PURPOSE", r.Purposes), printTallies(w, "LOGIN", r.People), printOpenings(w, r.Openings))
	for _, id := range r.Unfinished {
		cli.Printf(w, "unfinished  request %s: intent without outcome; its rows may have been seen\n", id)
	}
	for _, b := range r.BreakGlass {
		state := "NOT REVIEWED"
		if b.Reviewed != "" {
			state = "reviewed by " + b.Reviewed
		}
		cli.Printf(w, "break-glass request %s by %s at %s, %s, %s: %s\n",
			b.Request, b.Actor, cli.Time(b.At), b.Purpose, b.Ticket, state)
	}
	for _, change := range r.PolicyChanges {
		cli.Printf(w, "policy      %s from %s to %s by %s at %s, leaf %d\n",
			change.Name, setting(change.Old), setting(change.New), change.Actor, cli.Time(change.At), change.Leaf)
	}
	for _, g := range r.Grants {
		cli.Printf(w, "%-11s %s by %s at %s, leaf %d\n", g.Act, g.What, g.Actor, cli.Time(g.At), g.Leaf)
	}
	for _, c := range r.Logins {
		cli.Printf(w, "%-11s of %s from %s to %s by %s at %s, leaf %d\n",
			c.What, c.Name, setting(c.Old), setting(c.New), c.Actor, cli.Time(c.At), c.Leaf)
	}
	for _, h := range r.ByHand {
		if h.Role == "superuser" {
			cli.Printf(w, "superuser   %s holds every role\n", h.Login)
			continue
		}
		cli.Printf(w, "by hand     %s holds %s, without an entry in the log\n", h.Login, h.Role)
	}
	printKeys(w, r)
	for _, l := range r.Rotation {
		cli.Printf(w, "vault       %s by %s at %s, leaf %d\n", l.Type, l.Actor, cli.Time(l.TS), l.Seq)
	}
	if r.KMS != nil {
		printKMS(w, r.KMS)
	}
	return err
}

// setting is a setting's value for people. A leaf that an older API wrote has no old value.
func setting(value *string) string {
	if value == nil {
		return "none"
	}
	return *value
}

// printLogState says whether the numbers below can be believed. Without a checkpoint the database
// is the only witness of its own log.
func printLogState(w io.Writer, r *recovery.Report) {
	size := leaves(r.Log.Size)
	switch {
	case r.Log.Problem != "":
		cli.Printf(w, "log        INVALID: %s\n", r.Log.Problem)
	case r.Log.Verified:
		cli.Printf(w, "log        valid: %s, root %s, %d under a checkpoint\n", size, r.Log.Root, r.Log.Covered)
	default:
		cli.Printf(w, "log        %s, root %s, not compared with any checkpoint (--checkpoints)\n", size, r.Log.Root)
	}
	if len(r.ClockBack) > 0 {
		cli.Printf(w, "clock      went back before leaves %v\n", r.ClockBack)
	}
}

func printTallies(w io.Writer, name string, tallies map[string]*recovery.Tally) error {
	if len(tallies) == 0 {
		return nil
	}
	table := cli.NewTable(name, "REQUESTS", "APPROVALS", "DENIALS", "OPENINGS", "FROZEN", "ROWS")
	for _, key := range slices.Sorted(maps.Keys(tallies)) {
		t := tallies[key]
		table.Row(key, t.Requests, t.Approvals, t.Denials, t.Openings, t.Frozen, t.Rows)
	}
	return printApart(w, table)
}

// printOpenings lists who opened what, under which ticket, and who had approved it.
func printOpenings(w io.Writer, openings []*recovery.Opening) error {
	if len(openings) == 0 {
		return nil
	}
	table := cli.NewTable("OPENED (UTC)", "TICKET", "PURPOSE", "DATASET", "REQUESTER", "APPROVED BY",
		"ROWS", "FROZEN", "RESULT", "REQUEST")
	for _, o := range openings {
		approvers, result := strings.Join(o.Approvers, ", "), o.Result
		switch {
		case o.BreakGlass:
			approvers = "BREAK-GLASS"
		case approvers == "":
			approvers = "nobody"
		}
		if o.Ended == nil {
			result = "UNFINISHED"
		}
		table.Row(o.Began.UTC().Format(time.DateTime), o.Ticket, o.Purpose, o.Dataset, o.Requester, approvers,
			o.Rows, o.Frozen, result, o.Request)
	}
	return printApart(w, table)
}

// printApart prints a table and an empty line.
func printApart(w io.Writer, table *cli.Table) error {
	if err := table.Print(w); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

// printKeys counts keys by state and names those that should have been rotated by now.
func printKeys(w io.Writer, r *recovery.Report) {
	states := map[string]int{}
	for _, k := range r.Keys {
		states[k.Kind+" "+k.State]++
		if k.Overdue {
			cli.Printf(w, "overdue     %s key %d, made %s\n", k.Kind, k.ID, cli.Time(k.CreatedAt))
		}
	}
	for _, state := range slices.Sorted(maps.Keys(states)) {
		cli.Printf(w, "keys        %s: %d\n", state, states[state])
	}
}

// printKMS prints each call that nothing explains: somebody may be opening values past this program.
func printKMS(w io.Writer, k *recovery.KMSReport) {
	cli.Printf(w, "kms         %s: %d of openings, %d of them without an answer, %d of other roles' work, "+
		"%d unexplained; %d refused by KMS\n",
		cli.Count(k.Calls, "call"), k.Explained+k.Unanswered, k.Unanswered, k.Expected, len(k.Unexplained), k.Refused)
	for _, c := range k.Unexplained {
		cli.Printf(w, "UNEXPLAINED %s of %s key %s at %s by %s from %s (event %s): %s\n",
			c.Operation, c.Purpose, c.Key, cli.Time(c.Time), c.Principal, c.SourceIP, c.EventID, c.Why)
	}
	for _, c := range k.Missing {
		cli.Printf(w, "NOT IN KMS  %s of %s key %s, logged by %s for request %s in leaf %d: %s\n",
			c.Operation, c.Purpose, c.Key, c.Login, c.Request, c.Leaf, c.Why)
	}
}
