package keyscmd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newDatasetPlanCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Say what applying a dataset would change, step by step",
		Long: `Say what applying a dataset would change: each change and what it means for the rows that are
there, each step with its SQL and who takes it, and where old values remain. Nothing is changed. It
fails if a change cannot be made, and says why.`,
		Example: "  keys dataset plan orders.yaml",
		Args:    cli.Args("FILE"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := lintFile(cmd, args[0])
		if err != nil {
			return err
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
		return printPlan(cmd.OutOrStdout(), d, plan)
	}
	return cmd
}

// printPlan fails if a change is refused.
func printPlan(w io.Writer, d *dataset.Dataset, plan *dataset.Evolution) error {
	switch {
	case plan == nil:
		cli.Printf(w, "dataset %s is not in the vault: apply makes its table and its views\n", d.Name)
		return nil
	case len(plan.Changes) == 0:
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
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a dataset into the vault, or change one that is there",
		Long: `Put a dataset into the vault: its table, its views, its first partitions and its definition. Loads
wait for a moment. The same file again changes nothing.

A dataset that is there with another definition is changed while everything runs: keys dataset plan
says how. It can be killed at any time: the same command, or keys rotate, goes on. Without --kek it
goes as far as it can, and keys rotate does the rest.

Needs the login of keys init.`,
		Example: "  keys dataset apply orders.yaml",
		Args:    cli.Args("FILE"),
	}
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
			return evolve(cmd, vault, applied.Evolution)
		}
		cli.Printf(cmd.OutOrStdout(), "dataset %s applied, revision %d: analysts read public.%s and public.%s\n",
			d.Name, applied.Revision, d.Table, d.DuplicatesView())
		return nil
	}
	return cmd
}

// evolve takes the change on as far as this login and its KEK can.
func evolve(cmd *cobra.Command, vault *cli.VaultFlags, plan *dataset.Evolution) error {
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
		Owner:    v.DB,
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
	for _, s := range e.Operator {
		cli.Printf(w, "left to you  %s:\n", s.Title)
		printSQL(w, "             ", s.SQL)
	}
	printRemains(w, e.Remains)
}
