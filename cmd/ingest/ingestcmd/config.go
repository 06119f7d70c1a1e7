package ingestcmd

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/secret"
)

func newConfigCommand(ingest *cobra.Command) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Print the effective settings and where each comes from; secrets are not shown",
		Example: "  ingest config --config /etc/cloakroom/ingest.yaml",
		Args:    cli.Args(),
	}
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		shown, err := cli.Settings(cmd)
		if err != nil {
			return err
		}
		shown = slices.DeleteFunc(shown, func(s cli.Setting) bool {
			return cmd.LocalNonPersistentFlags().Lookup(s.Flag) != nil // its own --json
		})
		own, err := cli.SettingsOf(cmd, ingest.LocalNonPersistentFlags())
		if err != nil {
			return err
		}
		shown = append(shown, own...)
		slices.SortFunc(shown, func(a, b cli.Setting) int { return strings.Compare(a.Flag, b.Flag) })
		table := cli.NewTable("SETTING", "VALUE", "FROM")
		for i := range shown {
			if s := &shown[i]; s.Secret && s.Value != "" {
				s.Value = secret.Redacted
			}
			table.Row(shown[i].Flag, shown[i].Value, shown[i].Source)
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), shown)
		}
		return table.Print(cmd.OutOrStdout())
	}
	return cmd
}
