package keyscmd

import (
	"io"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

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
		s, err := v.Status(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), s)
		}
		return printStatus(cmd.OutOrStdout(), s)
	}
	return cmd
}

func printStatus(w io.Writer, s *keys.Status) error {
	cli.Printf(w, "vault       %s, epoch %d\n", s.VaultID, s.Epoch)
	cli.Printf(w, "schema      %v\n", s.Schema)
	cli.Printf(w, "KEK         %s\n", s.KEK)
	cli.Printf(w, "data keys   %d active, %d closed, %d retired, %d shredded", s.DataKeys["active"], s.DataKeys["closed"], s.DataKeys["retired"], s.DataKeys["shredded"])
	if s.OldestKey != nil {
		cli.Printf(w, "; the oldest active one is %s old", cli.Age(*s.OldestKey))
	}
	cli.Printf(w, "\n")
	for _, k := range s.IndexKeys {
		cli.Printf(w, "index key   v%d %s, %s old, under %s\n", k.Version, k.State, cli.Age(k.CreatedAt), k.KEK)
	}
	if n := len(s.Months); n > 0 {
		cli.Printf(w, "months      %s to %s (%d partitions)\n", s.Months[0], s.Months[n-1], n)
	}
	for _, note := range s.Notes {
		cli.Printf(w, "note        %s\n", note)
	}
	return nil
}
