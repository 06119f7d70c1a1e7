package keyscmd

import (
	"context"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newRotateCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Do what the policy says is due: the job for cron",
		Long: `Do what the vault's policy says is due, in the right order, and nothing where nothing is: make the
months ahead, purge old rejections, rewrap under the wanted KEK, reseal what old data keys hold,
retire data keys that nothing refers to, reindex under a new index key, measure what indexes give away
once a month. Then verify a sample. What an earlier run left unfinished is finished first, and so is the
change of a dataset. If that adds an index that gives away too much, it waits for a person: exit code 3.

It may be killed and run again, run twice at once, and run while ingest loads.`,
		Example: `  keys rotate
  keys rotate --dry-run
  keys rotate --metrics-file /var/lib/node_exporter/cloakroom.prom`,
		Args: cli.Args(),
	}
	j := declarePass(cmd, vault)
	j.declareOwner(cmd)
	declareAccept(cmd, &j.AcceptLeakage)
	cli.Of(cmd).Bool(&j.Force, "force", "treat all data keys as due, whatever their age")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			return rotation.Rotate(ctx, v, o)
		})
	}
	return cmd
}
