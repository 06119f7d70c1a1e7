package keyscmd

import (
	"context"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newRetireCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retire",
		Short: "Retire data keys that no row and no rejection refers to",
		Long: `Close the data keys that no daemon seals with any more, count what closed data keys hold, and retire
those that hold nothing. Their wrapped bytes are kept 35 more days, for backups that are restored.`,
		Example: "  keys retire --dry-run\n  keys retire",
		Args:    cli.Args(),
	}
	j := declareJob(cmd, vault)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			return rotation.Retire(ctx, v, o)
		})
	}
	return cmd
}
