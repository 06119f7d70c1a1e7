package keyscmd

import (
	"context"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newReindexCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reindex",
		Short: "Move every token to a new index key, or finish doing so",
		Long: `Make a new index key and move every token to it, or finish the reindex that is under way. Analysts
see the old tokens until every row has a new one, and the new ones from one statement on: at no
instant do two rows with the same value show different tokens. Tokens that analysts kept elsewhere
do not match any more afterwards.

With --owner-url (the login of keys init) indexes are built concurrently. Without it, loads into a
partition wait while its index is built, and partitions above 1 GiB are refused.`,
		Example: "  keys reindex --dry-run\n  keys reindex --owner-url-file /run/secrets/owner_url",
		Args:    cli.Args(),
	}
	j := declarePass(cmd, vault)
	j.declareOwner(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			return rotation.Reindex(ctx, v, o)
		})
	}
	return cmd
}
