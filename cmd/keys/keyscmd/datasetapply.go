package keyscmd

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/dataset/leakage"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newDatasetPlanCommand(vault *cli.VaultFlags) *cobra.Command {
	var sample string
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Say what applying a dataset would change, step by step",
		Long: `Say what applying a dataset would change: each change and what it means for the rows that are
there, each step with its SQL and who takes it, and where old values remain. Nothing is changed. It
fails if a change cannot be made, and says why.

With --from it needs no database: it says what the indexes would give away, as keys dataset leakage
does, from a sample of events. One half of them is what is known, and the other is attacked.`,
		Example: "  keys dataset plan orders.yaml\n  keys dataset plan orders.yaml --from sample.jsonl",
		Args:    cli.Args("FILE"),
	}
	cli.Of(cmd).String(&sample, "from", "", "sample, to measure what indexes give away: JSON Lines or a JSON array, plain "+
		"or gzip; - for standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := lintFile(cmd, args[0])
		if err != nil {
			return err
		}
		if sample != "" {
			return printSample(cmd, d, sample)
		}
		v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{Program: "keys", NoKEK: true})
		if err != nil {
			return err
		}
		defer closeVault()
		plan, err := v.PlanDataset(cmd.Context(), d)
		if err != nil {
			return err
		}
		if plan == nil {
			return printCreation(cmd, v, d)
		}
		return printPlan(cmd.OutOrStdout(), d, plan)
	}
	return cmd
}

// printCreation fails if the dataset cannot be made.
func printCreation(cmd *cobra.Command, v *keys.Vault, d *dataset.Dataset) error {
	c, err := v.PlanCreation(cmd.Context(), d)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	cli.Printf(w, "dataset %s is not in the vault: apply makes its table and its views, and the first partitions\n", d.Name)
	printSQL(w, "   ", c.SQL)
	if c.Taken != "" {
		return fmt.Errorf("%w: %s exists already: rename it, or give the dataset another table", keys.ErrRefused, c.Taken)
	}
	return nil
}

// printPlan fails if a change is refused.
func printPlan(w io.Writer, d *dataset.Dataset, plan *dataset.Evolution) error {
	if len(plan.Changes) == 0 {
		cli.Printf(w, "dataset %s is in the vault as it is\n", d.Name)
		return nil
	}
	for _, c := range plan.Changes {
		if c.Refused != "" {
			cli.Printf(w, "REFUSED  %s: %s\n", c.Text, c.Refused)
		} else {
			cli.Printf(w, "change   %s\n", c.Text)
		}
	}
	for i, s := range plan.Steps {
		cli.Printf(w, "\n%d. %s: %s\n", i+1, s.By, s.Title)
		printSQL(w, "   ", s.SQL)
		for _, column := range s.Indexes {
			cli.Printf(w, "   an index on %s, partition by partition\n", column)
		}
	}
	printRemains(w, keys.Remains(*plan))
	if n := len(plan.Refused()); n > 0 {
		return fmt.Errorf("%w: %s cannot be made", keys.ErrRefused, cli.Count(n, "change"))
	}
	return nil
}

func printSQL(w io.Writer, indent, text string) {
	for line := range strings.Lines(text) {
		cli.Printf(w, "%s%s\n", indent, strings.TrimRight(line, "\n"))
	}
}

func printRemains(w io.Writer, remains []string) {
	if len(remains) == 0 {
		return
	}
	cli.Printf(w, "\nWhat was in clear remains in\n")
	for _, r := range remains {
		cli.Printf(w, "  - %s\n", r)
	}
}

func newDatasetApplyCommand(vault *cli.VaultFlags) *cobra.Command {
	var accept string
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a dataset into the vault, or change one that is there",
		Long: `Put a dataset into the vault: its table, its views, its first partitions and its definition. Loads
wait for a moment. The same file again changes nothing.

A dataset that is there with another definition is changed while everything runs: keys dataset plan
says how. It can be killed at any time: the same command, or keys rotate, goes on. Without --kek it
goes as far as it can, and keys rotate does the rest.

An index that is added is judged once the rows that are there have its tokens. If it gives away more
than 5 % of 10,000 rows or more, the change waits, before an analyst sees it: apply the file without the
index, or let it go on with --accept-leakage, which is an entry of the audit log.

Needs the login of keys init.`,
		Example: "  keys dataset apply orders.yaml",
		Args:    cli.Args("FILE"),
	}
	declareAccept(cmd, &accept)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := lintFile(cmd, args[0])
		if err != nil {
			return err
		}
		url, err := vault.URL()
		if err != nil {
			return err
		}
		applied, err := keys.ApplyDataset(cmd.Context(), url, d)
		switch {
		case err != nil:
			return err
		case !applied.Changed:
			cli.Printf(cmd.OutOrStdout(), "dataset %s is in the vault as it is\n", d.Name)
			return nil
		case applied.Evolution != nil:
			return evolve(cmd, vault, applied.Evolution, accept)
		}
		cli.Printf(cmd.OutOrStdout(), "dataset %s applied, revision %d: analysts read public.%s and public.%s\n",
			d.Name, applied.Revision, d.Table, d.DuplicatesView())
		cli.Note(cmd, "ingest has to be told now what its queue carries: --dataset %s, --route, or --queue for several queues. "+
			"A daemon that was started without goes on as it is, and will not start again", d.Name)
		if len(d.Indexes()) > 0 {
			cli.Printf(cmd.OutOrStdout(),
				"once it has %s rows: keys dataset leakage %s says what equal tokens give away\n", big(leakage.MinRows), d.Name)
		}
		return nil
	}
	return cmd
}

// declareAccept declares --accept-leakage. An empty reason is none.
func declareAccept(cmd *cobra.Command, accept *string) {
	cli.Of(cmd).Check(accept, "accept-leakage", "REASON why a new index may give away too much; the audit log keeps it",
		func(reason string) error {
			if n := utf8.RuneCountInString(reason); strings.TrimSpace(reason) == "" || n > 1000 {
				return errors.New("want a reason of 1 to 1000 characters")
			}
			return nil
		})
}

// printJudged says what new indexes give away.
func printJudged(w io.Writer, judged []keys.IndexLeakage) {
	for _, l := range judged {
		what := "gives away " + leakage.Percent(l.GivesAway) + " of " + cli.Count(l.Rows, "row")
		if l.Verdict == string(leakage.TooFew) {
			what = fmt.Sprintf("%s are too few to judge it: keys dataset leakage %s says more later",
				cli.Count(l.Rows, "row"), l.Dataset)
		}
		cli.Printf(w, "judged       index %s of %s: %s\n", l.Index, l.Member, what)
	}
}

// evolve takes the change on as far as this login and its KEK can.
func evolve(cmd *cobra.Command, vault *cli.VaultFlags, plan *dataset.Evolution, accept string) error {
	for _, c := range plan.Changes {
		cli.Printf(cmd.OutOrStdout(), "change   %s\n", c.Text)
	}
	v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{
		Program: "keys", NoKEK: vault.KEKs == "", Role: pg.Owner, StatementTimeout: -1,
	})
	if err != nil {
		return err
	}
	defer closeVault()
	progress := cli.StartProgress(cmd)
	defer progress.End()
	report, err := rotation.Evolve(cmd.Context(), v, rotation.Options{
		Owner: v.DB, AcceptLeakage: accept,
		Progress: func(p rotation.Progress) { progress.Step(p.Step, nounOf(p.Step), p.Done, p.Rows) },
	})
	progress.End()
	printReport(cmd.OutOrStdout(), &report, err != nil)
	if errors.Is(err, keys.ErrUnfinished) && vault.KEKs == "" {
		cli.Note(cmd, "the rest needs the KEK: keys rotate goes on")
		return nil
	}
	return err
}

// printEvolved says what is left to the operator once a dataset is changed.
func printEvolved(w io.Writer, e *rotation.Evolved) {
	printJudged(w, e.Judged)
	for _, s := range e.Operator {
		cli.Printf(w, "left to you  %s:\n", s.Title)
		printSQL(w, "             ", s.SQL)
	}
	printRemains(w, e.Remains)
}
