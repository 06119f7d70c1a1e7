package keyscmd

import (
	"context"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newResealCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Move values from data keys that are due to new ones, and retire those left empty",
		Long: `Close the data keys that the policy says are due (with --force all), move what they sealed to new data keys, and retire
those that are left empty. A row that does not open stays as it is, is named, and keeps its key.`,
		Args: cobra.NoArgs,
	}
	flags := addJobFlags(cmd)
	force := cmd.Flags().Bool("force", false, "all data keys are due, whatever their age")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runJob(cmd, flags, nil, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			o.Force = *force
			return rotation.Reseal(ctx, v, dataset.Login(), o)
		})
	}
	return cmd
}
