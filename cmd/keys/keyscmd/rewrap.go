package keyscmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newRewrapCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rewrap [--to URI] [--undo]",
		Short: "Wrap every key under another KEK",
		Long: `Wrap every key under another KEK: the first of --kek, unless --to names another of them. The old KEK
must still be among them: --kek NEW,OLD. Between two KMS keys no key leaves KMS. A KEK that is lost
or disabled is reported before anything changes. KMS's own yearly rotation needs none of this.

Give daemons the new KEK first (CLOAKROOM_KEK=NEW,OLD), so that none makes keys under the old one
meanwhile.

What a rewrap replaces is kept for 35 days. --undo puts it back, for each key that does not unwrap under
--kek: a rewrap with wrong bytes, or under a KEK that is lost, destroys nothing.`,
		Example: "  keys rewrap --kek awskms:///alias/new,awskms:///alias/old --dry-run\n" +
			"  keys rewrap --undo --kek awskms:///alias/old",
		Args: cli.Args(),
	}
	j := declareJob(cmd, vault)
	var to string
	var undo bool
	f := cli.Of(cmd)
	f.String(&to, "to", "", "URI of the KEK, one of --kek (default: the first of them)")
	f.Bool(&undo, "undo", "put back what a rewrap replaced, for each key that does not unwrap")
	f.Excludes("undo", "to")
	f.Complete("to", func(context.Context, *cobra.Command) ([]string, error) { return splitKEKs(vault.KEKs), nil })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if to != "" && !slices.Contains(splitKEKs(vault.KEKs), to) {
			// Else every command that follows, and every daemon, would lack the KEK that all keys
			// are under.
			return cli.Usage(cmd, fmt.Errorf(
				"--to %s is not among the KEKs of --kek (CLOAKROOM_KEK); nothing was changed: add it, as in --kek %s,OLD", to, to))
		}
		return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			if undo {
				return rotation.UndoRewrap(ctx, v, o)
			}
			if to == "" {
				to = v.KEK.Current()
			}
			return rotation.Rewrap(ctx, v, to, o)
		})
	}
	return cmd
}

func splitKEKs(uris string) []string {
	var list []string
	for uri := range strings.SplitSeq(uris, ",") {
		if uri = strings.TrimSpace(uri); uri != "" {
			list = append(list, uri)
		}
	}
	return list
}
