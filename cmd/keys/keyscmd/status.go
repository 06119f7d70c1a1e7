package keyscmd

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"cloakroom/dataset/leakage"
	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// statusReport is the vault at a glance, and the jobs that began and did not end.
type statusReport struct {
	*keys.Status
	Unfinished []rotation.Unfinished `json:"unfinished"`
	Leakage    []keys.IndexLeakage   `json:"leakage"`
}

func newStatusCommand(vault *cli.VaultFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the vault at a glance; unwraps nothing",
		Example: "  keys status\n  keys status --json",
		Args:    cli.Args(),
	}
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{Program: "keys"})
		if err != nil {
			return err
		}
		defer closeVault()
		s := statusReport{}
		if s.Status, err = v.Status(cmd.Context()); err != nil {
			return err
		}
		if s.Unfinished, err = rotation.ListUnfinished(cmd.Context(), v); err != nil {
			return err
		}
		if s.Leakage, err = v.IndexLeakages(cmd.Context()); err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), s)
		}
		printStatus(cmd.OutOrStdout(), s)
		return nil
	}
	return cmd
}

func printStatus(w io.Writer, s statusReport) {
	cli.Printf(w, "vault       %s, epoch %d\n", s.VaultID, s.Epoch)
	cli.Printf(w, "schema      %s\n", s.Schema)
	cli.Printf(w, "KEK         %s\n", s.KEK)
	for _, k := range s.KEKs {
		if k.ClosedAt == nil {
			cli.Printf(w, "            the vault takes keys under %s (%s)\n", k.KEK, k.ID)
		}
	}
	cli.Printf(w, "data keys   %d active, %d closed, %d retired, %d shredded\n",
		s.DataKeys["active"], s.DataKeys["closed"], s.DataKeys["retired"], s.DataKeys["shredded"])
	if s.OldestKey != nil {
		cli.Printf(w, "            the oldest active one was made %s, %s ago\n", cli.Time(*s.OldestKey), cli.Age(*s.OldestKey))
	}
	for _, k := range s.IndexKeys {
		cli.Printf(w, "index key   v%d %s, made %s, %s ago\n", k.Version, k.State, cli.Time(k.CreatedAt), cli.Age(k.CreatedAt))
		if k.KEK != s.KEK {
			cli.Printf(w, "            under %s (%s)\n", k.KEK, k.KEKID)
		}
	}
	for _, d := range s.Datasets {
		cli.Printf(w, "dataset     %s, days %s to %s (%s)\n", d.Name, d.From, d.To, cli.Count(d.Partitions, "partition"))
	}
	for _, l := range s.Leakage {
		cli.Printf(w, "index       %s %s %s: %s\n", l.Dataset, l.Member, l.Index, describeLeakage(l))
	}
	for _, u := range s.Unfinished {
		cli.Printf(w, "unfinished  %s\n", describeUnfinished(u))
	}
	for _, note := range s.Notes {
		cli.Printf(w, "note        %s\n", note)
	}
}

// describeLeakage says what an index gave away when it was last measured.
func describeLeakage(l keys.IndexLeakage) string {
	switch {
	case l.MeasuredAt == nil:
		return "never measured: keys rotate does it"
	case leakage.TooFewRows(l.Rows, l.Halves):
		return "too few rows to judge"
	}
	text := fmt.Sprintf("gives away %s of the rows of %s", leakage.Percent(l.GivesAway), l.Month.Format("2006-01"))
	switch {
	case l.TooMuch() && l.Accepted != "":
		return text + ", accepted: " + l.Accepted
	case l.TooMuch():
		return fmt.Sprintf("%s, TOO MUCH: keys dataset leakage %s", text, l.Dataset)
	}
	return text
}
