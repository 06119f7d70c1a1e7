package recovercmd

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func newOpen() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "open ID",
		Short: "Open what a request of yours was approved for, once",
		Long: `Open what a request of yours was approved for, once.

Every row is opened and compared with its token, and the outcome is in the audit log, before anything is shown. Without a
terminal on standard output the values go to --out or --recipient, or --allow-pipe says that a pipe is meant.`,
		Args: cobra.ExactArgs(1),
		RunE: runOpen,
	}
	f := cmd.Flags()
	f.String("format", "", "table, json or csv (default: table on a terminal, else json)")
	f.String("out", "", "write to this new file, mode 0600, whole or not at all")
	f.StringSlice("recipient", nil, "encrypt to this age recipient (age1…); may be repeated")
	f.Bool("allow-pipe", false, "write values to standard output although it is no terminal")
	addOpenFlags(cmd)
	return cmd
}

// addOpenFlags adds what open and replay share.
func addOpenFlags(cmd *cobra.Command) {
	cmd.Flags().Duration("wait", 30*time.Second, "how long to wait for the intent to be on disk, and under a checkpoint if the policy wants one")
	cmd.Flags().Int("memory", 64, "MiB of opened rows to hold in memory; more is spooled, encrypted, to a temporary file")
}

func openOptions(cmd *cobra.Command) (recovery.OpenOptions, func()) {
	wait, _ := cmd.Flags().GetDuration("wait")
	memory, _ := cmd.Flags().GetInt("memory")
	progress, done := progressLine(cmd.ErrOrStderr())
	return recovery.OpenOptions{Wait: wait, Memory: memory << 20, Progress: progress}, done
}

func runOpen(cmd *cobra.Command, args []string) error {
	id, err := parseID(args[0])
	if err != nil {
		return err
	}
	// Whatever may go wrong with the output goes wrong before the approval is spent.
	to, err := newDestination(cmd)
	if err != nil {
		return err
	}
	defer to.discard()
	c, done, err := newClient(cmd, true)
	if err != nil {
		return err
	}
	defer done()
	d, err := c.Show(cmd.Context(), id)
	if err != nil {
		return err
	}
	options, endProgress := openOptions(cmd)
	opened, err := c.Open(cmd.Context(), id, options)
	endProgress()
	if err != nil {
		return err
	}
	defer opened.Close()
	if err := to.write(opened); err != nil {
		return fmt.Errorf("writing what was opened (the log has it, in leaf %d): %w", opened.Leaf, err)
	}
	summarise(cmd.ErrOrStderr(), opened)
	n := noticeOf("opened", d)
	n.Rows = &opened.Rows
	notify(cmd, n)
	return nil
}

func summarise(w io.Writer, o *recovery.OpenedRows) {
	fmt.Fprintf(w, "%d rows opened; intent in leaf %d of the audit log, outcome in leaf %d\n", o.Rows, o.Intent, o.Leaf)
	if o.Gone > 0 {
		fmt.Fprintf(w, "%d rows were erased or removed since the opening began\n", o.Gone)
	}
}

// progressLine shows how far an opening is, on a terminal, once it takes longer than a moment.
func progressLine(w io.Writer) (progress func(rows, total int64), done func()) {
	if !cli.IsTerminal(w) {
		return nil, func() {}
	}
	w = cli.Raw(w)
	began, last := time.Now(), time.Now()
	shown := false
	return func(rows, total int64) {
			if time.Since(began) < time.Second || time.Since(last) < 200*time.Millisecond {
				return
			}
			last, shown = time.Now(), true
			fmt.Fprintf(w, "\r%d of %d rows", rows, total)
		}, func() {
			if shown {
				fmt.Fprint(w, "\r\x1b[K")
			}
		}
}
