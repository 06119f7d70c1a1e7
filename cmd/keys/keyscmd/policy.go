package keyscmd

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys/rotation"
)

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Show or set the vault's policy"}
	cmd.AddCommand(newPolicyShowCommand(), newPolicySetCommand())
	return cmd
}

func newPolicyShowCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show", Short: "Show the vault's policy", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		url, err := cli.DatabaseURL(cmd)
		if err != nil {
			return err
		}
		db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom keys"})
		if err != nil {
			return err
		}
		defer db.Close()
		p, err := rotation.ReadPolicy(cmd.Context(), db)
		if err != nil {
			return err
		}
		if *asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), p)
		}
		return printPolicy(cmd, p)
	}
	return cmd
}

// printPolicy prints a setting a line, as policy set takes it.
func printPolicy(cmd *cobra.Command, p rotation.Policy) error {
	kek := "-"
	if p.KEK != nil {
		kek = *p.KEK
	}
	for _, line := range []struct {
		name  string
		value any
	}{
		{"approvals", p.Approvals}, {"row_limit", p.RowLimit}, {"request_lifetime", p.RequestLifetime}, {"daily_quota", p.DailyQuota},
		{"purposes", strings.Join(p.Purposes, ",")}, {"checkpoint_before_open", p.CheckpointBeforeOpen}, {"breakglass_rows", p.BreakglassRows},
		{"breakglass_unreviewed", p.BreakglassUnreviewed},
		{"data_key_max_age", p.DataKeyMaxAge}, {"index_key_max_age", p.IndexKeyMaxAge}, {"rejection_retention", p.RejectionRetention},
		{"days_back", p.DaysBack}, {"days_ahead", p.DaysAhead}, {"kek", kek},
	} {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-23s %v\n", line.name, line.value); err != nil {
			return err
		}
	}
	return nil
}

func newPolicySetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME VALUE",
		Short: "Set one setting of the policy; takes the login of keys init",
		Long: `Set one setting of the policy. The names are those that policy show prints; a time is written 90 days or 24 hours, purposes
with commas between, and - stands for none. It takes the login of keys init: who may set the number of approvals may open
anything. The audit log says who set what.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			url, err := cli.DatabaseURL(cmd)
			if err != nil {
				return err
			}
			db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom keys", Role: pg.Owner})
			if err != nil {
				return err
			}
			defer db.Close()
			name, value := strings.ReplaceAll(args[0], "-", "_"), &args[1]
			switch {
			case args[1] == "-":
				value = nil
			case name == "purposes":
				*value = purposeArray(args[1])
			}
			if err := rotation.SetPolicy(cmd.Context(), db, name, value); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is %s now\n", name, args[1])
			return err
		},
	}
}

// purposeArray is a list with commas as Postgres reads an array.
func purposeArray(list string) string {
	var quoted []string
	for purpose := range strings.SplitSeq(list, ",") {
		text, _ := json.Marshal(strings.TrimSpace(purpose)) // a string always marshals; an array's quotes are JSON's
		quoted = append(quoted, string(text))
	}
	return "{" + strings.Join(quoted, ",") + "}"
}
