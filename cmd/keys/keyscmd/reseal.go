package keyscmd

import (
	"context"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newResealCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Move values from data keys that are due to new ones, and retire those left empty",
		Long: `Close the data keys that the policy says are due (with --force all of them), move what they sealed
to new data keys, and retire those that are left empty. A row that does not open stays as it is, is
named, and keeps its key.`,
		Example: "  keys reseal --dry-run\n  keys reseal --force --rate 5000",
		Args:    cli.Args(),
	}
	j := declarePass(cmd, vault)
	cli.Of(cmd).String(&j.Dataset, "dataset", "", "reseal this dataset alone; without it, all")
	cli.Of(cmd).Bool(&j.Force, "force", "treat all data keys as due, whatever their age")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			return rotation.Reseal(ctx, v, o)
		})
	}
	return cmd
}
