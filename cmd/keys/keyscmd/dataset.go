package keyscmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
)

func newDatasetCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dataset",
		Short: "Say what an event is: its members, and how each is protected",
		Long: `Say what an event is: its members, and how each is protected. A dataset is a YAML file;
once applied, its definition is in the vault, and every program reads it from there.`,
		Example: "  keys dataset infer --from orders.jsonl --name order --out order.yaml\n  keys dataset lint order.yaml\n" +
			"  keys dataset apply order.yaml",
	}
	cmd.AddCommand(newDatasetInferCommand(), newDatasetLintCommand(), newDatasetPlanCommand(vault),
		newDatasetApplyCommand(vault), newDatasetListCommand(vault), newDatasetShowCommand(vault),
		newDatasetLeakageCommand(vault))
	return cmd
}

func newDatasetListCommand(vault *cli.VaultFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the vault's datasets",
		Example: "  keys dataset list",
		Args:    cli.Args(),
	}
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{Program: "keys", NoKEK: true})
		if err != nil {
			return err
		}
		defer closeVault()
		list, err := v.DatasetList(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), list)
		}
		table := cli.NewTable("DATASET", "REVISION", "APPLIED (UTC)", "BY")
		for _, d := range list {
			table.Row(d.Name, fmt.Sprint(d.Revision), cli.Minute(d.AppliedAt), d.AppliedBy)
		}
		return table.Print(cmd.OutOrStdout())
	}
	return cmd
}

func newDatasetShowCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print a dataset's definition as the vault holds it: canonical JSON, which YAML includes",
		Example: "  keys dataset show login",
		Args:    cli.Args("NAME"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{Program: "keys", NoKEK: true})
		if err != nil {
			return err
		}
		defer closeVault()
		list, err := v.Datasets(cmd.Context())
		if err != nil {
			return err
		}
		d, err := list.Find(args[0])
		if err != nil {
			return err
		}
		cli.Printf(cmd.OutOrStdout(), "%s\n", d.Canonical())
		return nil
	}
	return cmd
}
