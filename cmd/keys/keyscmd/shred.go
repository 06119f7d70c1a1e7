package keyscmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newShredCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shred --before MONTH [--yes-destroy]",
		Short: "Destroy the data keys of old months, what they sealed, and its tokens",
		Long: `Destroy the data keys of every month before MONTH, clear what they sealed and its tokens, rejections
too. The rows stay, with their clear columns. There is no way back, except from a backup:
docs/rotation.md says what shredding does to those, and how a KEK per retention period closes the
gap.`,
		Example: "  keys shred --before 2026-01 --dry-run\n  keys shred --before 2026-01 --yes-destroy",
		Args:    cli.Args(),
	}
	j := declarePass(cmd, vault)
	var before time.Time
	var destroy bool
	f := cli.Of(cmd)
	f.Month(&before, "before", "the first month that is kept, YYYY-MM")
	f.String(&j.Dataset, "dataset", "", "destroy of this dataset alone; without it, of all")
	f.Bool(&destroy, "yes-destroy", "really destroy; without it, say what would become unreadable")
	f.Require("before")
	f.Excludes("dry-run", "yes-destroy")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !before.Before(time.Now().UTC()) {
			return fmt.Errorf("shredding the months before %s: that would take this month's keys too; name this month or an "+
				"earlier one", before.Format("2006-01"))
		}
		return j.run(cmd, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			plan, err := rotation.PlanShred(ctx, v, o.Dataset, before)
			if err != nil {
				return rotation.Report{}, err
			}
			would := rotation.Report{DryRun: true}
			for _, m := range plan {
				cli.Note(cmd, "%s, %s: %s and %s become unreadable for good, with %s", m.Dataset, m.Month,
					cli.Count(m.Rows, "row"), cli.Count(m.Rejections, "rejection"), cli.Count(len(m.DataKeys), "data key"))
				would.Cleared += m.Rows
				would.ClearedRejections += m.Rejections
				would.Shredded = append(would.Shredded, m.DataKeys...)
			}
			if o.DryRun || !destroy {
				if !o.DryRun && len(plan) > 0 {
					return would, errors.New("nothing was destroyed: say --yes-destroy to do it")
				}
				return would, nil
			}
			return rotation.Shred(ctx, v, before, o)
		})
	}
	return cmd
}
