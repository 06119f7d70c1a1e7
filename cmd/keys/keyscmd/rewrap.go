package keyscmd

import (
	"context"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/rotation"
)

func newRewrapCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rewrap [--to URI]",
		Short: "Wrap every key under another KEK",
		Long: `Wrap every key under another KEK, the first of --kek unless --to names another of them. The old KEK must still be there,
after a comma: --kek NEW,OLD. Between two KMS keys no key leaves KMS. A KEK that is lost or disabled is reported before
anything changes. KMS's own yearly rotation needs none of this.

Give daemons the new KEK first (CLOAKROOM_KEK=NEW,OLD), so that none makes keys under the old one meanwhile.`,
		Args: cobra.NoArgs,
	}
	flags := addJobFlags(cmd)
	to := cmd.Flags().String("to", "", "URI of the KEK; empty: the first of --kek")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runJob(cmd, flags, nil, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			target := *to
			if target == "" {
				target = v.KEK.Current()
			}
			set, err := kek.Open(ctx, cli.Value(cmd, "kek")+","+target)
			if err != nil {
				return rotation.Report{}, err
			}
			return rotation.Rewrap(ctx, &keys.Vault{DB: v.DB, KEK: set}, dataset.Login(), target, o)
		})
	}
	return cmd
}
