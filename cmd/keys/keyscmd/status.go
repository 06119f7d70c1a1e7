package keyscmd

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

func newStatusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show the vault at a glance; unwraps nothing", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, closeVault, err := openVault(cmd)
		if err != nil {
			return err
		}
		defer closeVault()
		s, err := v.Status(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), s)
		}
		return printStatus(cmd.OutOrStdout(), s)
	}
	return cmd
}

func printStatus(w io.Writer, s *keys.Status) error {
	fmt.Fprintf(w, "vault       %s, epoch %d\n", s.VaultID, s.Epoch)
	fmt.Fprintf(w, "KEK         %s\n", s.KEK)
	fmt.Fprintf(w, "data keys   %d active, %d closed, %d retired, %d shredded", s.DataKeys["active"], s.DataKeys["closed"], s.DataKeys["retired"], s.DataKeys["shredded"])
	if s.OldestKey != nil {
		fmt.Fprintf(w, "; the oldest active one is %s old", age(*s.OldestKey))
	}
	fmt.Fprintln(w)
	for _, k := range s.IndexKeys {
		fmt.Fprintf(w, "index key   v%d %s, %s old, under %s\n", k.Version, k.State, age(k.CreatedAt), k.KEK)
	}
	if n := len(s.Months); n > 0 {
		fmt.Fprintf(w, "months      %s to %s (%d partitions)\n", s.Months[0], s.Months[n-1], n)
	}
	for _, note := range s.Notes {
		fmt.Fprintf(w, "note        %s\n", note)
	}
	return nil
}

// age is how long ago, in the unit a reader would use.
func age(at time.Time) string {
	switch d := time.Since(at); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
