package main

import (
	"encoding/json"
	"fmt"
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
		shown := settings[:0]
		for _, s := range settings {
			if cmd.LocalNonPersistentFlags().Lookup(s.Flag) != nil {
				continue // its own --json
			}
			if s.Secret && s.Value != "" {
				s.Value = secret.Redacted
			}
			shown = append(shown, s)
		}
		if *asJSON {
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(shown)
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
