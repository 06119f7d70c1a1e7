package ingestcmd

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/secret"
)

func newConfigCommand(ingest *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective settings and where each comes from; secrets are not shown",
		Args:  cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := cli.Settings(cmd)
		if err != nil {
			return err
		}
		settings = slices.DeleteFunc(settings, func(s cli.Setting) bool {
			return cmd.LocalNonPersistentFlags().Lookup(s.Flag) != nil // its own --json
		})
		local, err := cli.SettingsOf(cmd, ingest.LocalNonPersistentFlags())
		if err != nil {
			return err
		}
		settings = append(settings, local...)
		slices.SortFunc(settings, func(a, b cli.Setting) int { return strings.Compare(a.Flag, b.Flag) })
		shown := settings[:0]
		for _, s := range settings {
			if s.Secret && s.Value != "" {
				s.Value = secret.Redacted
			}
			shown = append(shown, s)
		}
		if *asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), shown)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
		for _, s := range shown {
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.Flag, s.Value, s.Source)
		}
		return w.Flush()
	}
	return cmd
}
