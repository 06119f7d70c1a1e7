package keyscmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

func newShredCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shred --before MONTH --yes-destroy",
		Short: "Destroy the data keys of old months, what they sealed, and its tokens",
		Long: `Destroy the data keys of every month before MONTH (YYYY-MM), clear what they sealed and its tokens, rejections too. The
rows stay, with their clear columns. There is no way back, except from a backup: docs/rotation.md says what shredding does to
those, and how a KEK per retention period closes the gap.`,
		Args: cobra.NoArgs,
	}
	flags := addJobFlags(cmd)
	before := cmd.Flags().String("before", "", "the first month that is kept, YYYY-MM")
	destroy := cmd.Flags().Bool("yes-destroy", false, "really do it; without, say what would become unreadable")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		month, err := time.Parse("2006-01", *before)
		if err != nil {
			return errors.New("name the first month that is kept: --before YYYY-MM")
		}
		if !month.Before(time.Now().UTC()) {
			return fmt.Errorf("shredding the months before %s: that would take this month's keys too; name this month at the latest", *before)
		}
		return runJob(cmd, flags, nil, func(ctx context.Context, v *keys.Vault, o rotation.Options) (rotation.Report, error) {
			plan, err := rotation.PlanShred(ctx, v, month)
			if err != nil {
				return rotation.Report{}, err
			}
			would := rotation.Report{DryRun: true}
			for _, m := range plan {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d rows and %d rejections become unreadable for ever, %d data keys\n", m.Month, m.Rows, m.Rejections, len(m.DataKeys))
				would.Cleared += m.Rows
				would.ClearedRejections += m.Rejections
				would.Shredded = append(would.Shredded, m.DataKeys...)
			}
			if o.DryRun || !*destroy {
				if !o.DryRun && len(plan) > 0 {
					return would, errors.New("nothing was destroyed: say --yes-destroy to do it")
				}
				return would, nil
			}
			return rotation.Shred(ctx, v, dataset.Login(), month, o)
		})
	}
	return cmd
}
