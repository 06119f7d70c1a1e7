package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func (p *program) newOpen() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "open ID",
		Short: "Open what your request was approved for, once",
		Long: `Open what your request was approved for, once.

Every row is opened and compared with its tokens, and the outcome is in the audit log, before any
value is shown. One row that does not open, and nothing is shown; with --skip-damaged the others are.
If standard output is not a terminal, name --out or --recipient, or say with --allow-pipe that a pipe is
meant.

In CSV, a cell that a spreadsheet would run as a formula (it begins with = + - @, a tab or a line
end) gets a ' in front. --raw-csv writes it as it is. JSON holds every value exactly.`,
		Example: `  recover open 0198c2f0-5f0e-7000-8000-000000000000
  recover open 0198c2f0-5f0e-7000-8000-000000000000 --out values.csv`,
	}
	var to destination
	var o openFlags
	f := cli.Of(cmd)
	to.declare(f)
	o.declare(f)
	f.Bool(&o.skip, "skip-damaged", "leave out rows that do not open, name them, and end with exit code 5")
	p.forRequest(cmd, withKEK, inState("approved", "intent", "confirmed"),
		func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error {
			// What can fail about the output fails before the approval is spent.
			if err := to.prepare(cmd); err != nil {
				return err
			}
			defer to.discard()
			d, err := c.Show(ctx, id)
			if err != nil {
				return err
			}
			opened, err := o.open(cmd, c, id)
			if err != nil {
				return err
			}
			defer opened.Close()
			if err := to.write(opened); err != nil {
				return fmt.Errorf("writing the opened values: %w "+
					"(the log has the outcome in leaf %d: request them again)", err, opened.Leaf)
			}
			summarise(cmd, opened)
			p.notify(cmd, noticeOf("opened", d).withRows(opened.Rows))
			return damage(opened.Damaged)
		})
	return cmd
}

// openFlags are what open and replay share.
type openFlags struct {
	wait   time.Duration
	memory int64
	skip   bool
}

func (o *openFlags) declare(f cli.Flags) {
	f.Duration(&o.wait, "wait", 30*time.Second, cli.Between(10*time.Millisecond, time.Hour),
		"how long to wait until the intent is on disk and, if the policy wants one, under a checkpoint")
	f.Size(&o.memory, "memory", 64<<20, cli.Between[int64](1<<20, 64<<30),
		"how much of the opened rows to hold in memory; the rest goes to a temporary file, encrypted")
}

// open opens a request and shows progress.
func (o *openFlags) open(cmd *cobra.Command, c *recovery.Client, id uuid.UUID) (*recovery.OpenedRows, error) {
	progress := cli.StartProgress(cmd)
	defer progress.End()
	opened, err := c.Open(cmd.Context(), id, recovery.OpenOptions{
		Wait: o.wait, Memory: int(o.memory), SkipDamaged: o.skip,
		Progress: func(rows, total int64) { progress.Step("opening", "row", rows, total) },
	})
	if errors.Is(err, context.Canceled) && errors.Is(err, recovery.ErrApprovalSpent) {
		return nil, cli.Exit(cli.ExitOther, err) // not 2: it cannot be run again
	}
	return opened, err
}

// damage names the rows that were left out, and is nil where there are none.
func damage(list []recovery.DamagedRow) error {
	var lines []string
	for i, d := range list {
		if i == 100 {
			lines = append(lines, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("%s %s (data key %d): %s", d.Kind, d.ID, d.DataKey, d.Problem))
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%s left out: %w\n%s\nrun keys verify --all, and compare with a backup",
		cli.Count(len(list), "row was", "rows were"), recovery.ErrIntegrity, strings.Join(lines, "\n"))
}

// summarise names the two leaves, so that a reader can find the opening in the log.
func summarise(cmd *cobra.Command, o *recovery.OpenedRows) {
	cli.Note(cmd, "%s opened; intent in leaf %d of the audit log, outcome in leaf %d",
		cli.Count(o.Rows, "row"), o.Intent, o.Leaf)
	if o.Gone > 0 {
		cli.Note(cmd, "%s erased or removed since the opening began", cli.Count(o.Gone, "row was", "rows were"))
	}
}
