package keyscmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

func newPolicyCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Show or set the vault's policy"}
	cmd.AddCommand(newPolicyShowCommand(vault), newPolicySetCommand(vault))
	return cmd
}

func newPolicyShowCommand(vault *cli.VaultFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show the vault's policy",
		Example: "  keys policy show",
		Args:    cli.Args(),
	}
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		db, err := vault.OpenDB(cli.VaultConfig{Program: "keys"})
		if err != nil {
			return err
		}
		defer db.Close()
		p, err := keys.ReadPolicy(cmd.Context(), db)
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), p)
		}
		for _, s := range policySettings {
			cli.Printf(cmd.OutOrStdout(), "%-23s %s\n", s.name, s.show(p))
		}
		return nil
	}
	return cmd
}

func newPolicySetCommand(vault *cli.VaultFlags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "set NAME VALUE",
		Short: "Set one setting of the policy; takes the login of keys init",
		Long: `Set one setting of the policy. It takes the login of keys init: a login that may set the number of
approvals may open anything. The audit log says who set what. A duration needs a unit: 24h, 30d or
"30 days". A value that weakens a protection or deletes data asks first.

` + policyHelp(),
		Example: `  keys policy set rejection_retention 30d
  keys policy set purposes security,fraud,legal
  keys policy set approvals 2`,
		Args: cli.Args("NAME", "VALUE"),
	}
	cli.CompleteArgs(cmd, func(context.Context, *cobra.Command) ([]string, error) {
		var names []string
		for _, s := range policySettings {
			names = append(names, s.name+"\t"+s.help)
		}
		return names, nil
	})
	cli.Of(cmd).Bool(&yes, "yes", "do not ask")
	// No setting takes a negative value. That is said as for any other that is out of range, and not
	// as of an unknown flag -1.
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		text, negative := cli.NegativeArgument(err)
		if setting, unknown := findSetting(cmd.Flags().Arg(0)); negative && unknown == nil {
			return cli.Usage(cmd, setting.refuse(text))
		}
		return cmd.Root().FlagErrorFunc()(cmd, err)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		setting, err := findSetting(args[0])
		if err != nil {
			return cli.Usage(cmd, err)
		}
		v, err := setting.parse(args[1])
		if err != nil {
			return cli.Usage(cmd, setting.refuse(args[1]))
		}
		if v.alarm != "" {
			if err := cli.Confirm(cmd, yes, "%s is to be %s: %s", setting.name, v.shown, v.alarm); err != nil {
				return err
			}
		}
		db, err := vault.OpenDB(cli.VaultConfig{Program: "keys", Role: pg.Owner})
		if err != nil {
			return err
		}
		defer db.Close()
		if err := keys.SetPolicy(cmd.Context(), db, setting.name, v.stored); err != nil {
			return err
		}
		cli.Printf(cmd.OutOrStdout(), "%s is now %s\n", setting.name, v.shown)
		return nil
	}
	return cmd
}

// refuse says what a setting takes instead of a text.
func (s policySetting) refuse(text string) error {
	return fmt.Errorf("%s %q: want %s", s.name, text, s.want)
}

func findSetting(name string) (policySetting, error) {
	name = strings.ReplaceAll(name, "-", "_")
	var names []string
	for _, s := range policySettings {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	hint := "the settings are " + strings.Join(names, ", ")
	if near := cli.Nearest(name, names); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return policySetting{}, errors.New("the policy has no setting " + fmt.Sprintf("%q", name) + ": " + hint)
}

func policyHelp() string {
	var b strings.Builder
	for _, s := range policySettings {
		fmt.Fprintf(&b, "  %-23s %s; %s\n", s.name, s.help, s.want)
	}
	return strings.TrimRight(b.String(), "\n")
}
