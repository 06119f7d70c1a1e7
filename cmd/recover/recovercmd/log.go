package recovercmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/recover/auditlog"
)

func newLog() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show the audit log, sign checkpoints of it, export and verify it",
	}
	cmd.AddCommand(newLogShow(), newLogKeygen(), newLogCheckpoint(), newLogExport(), newLogVerify(), newLogProve())
	return cmd
}

// openLog connects to the audit log.
func openLog(cmd *cobra.Command) (auditlog.Log, func(), error) {
	c, done, err := newClient(cmd, false)
	if err != nil {
		return auditlog.Log{}, nil, err
	}
	return auditlog.Log{DB: c.Vault.DB}, done, nil
}

// origin names the log of the vault at the database URL.
func origin(cmd *cobra.Command) (string, error) {
	c, done, err := newClient(cmd, false)
	if err != nil {
		return "", err
	}
	defer done()
	s, err := c.Vault.Settings(cmd.Context())
	if err != nil {
		return "", err
	}
	return auditlog.Origin(s.ID), nil
}

func newLogShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show leaves; with --json as the very bytes that are hashed, a line each",
		Args:  cobra.NoArgs,
		RunE:  showLog,
	}
	f := cmd.Flags()
	f.Int64("from", 0, "number of the first leaf; negative: so many from the end")
	f.Int("limit", 100, "leaves at the most")
	f.String("request", "", "only leaves of this request")
	f.Bool("json", false, "print the leaves' own bytes")
	return cmd
}

func showLog(cmd *cobra.Command, _ []string) error {
	log, done, err := openLog(cmd)
	if err != nil {
		return err
	}
	defer done()
	from, _ := cmd.Flags().GetInt64("from")
	limit, _ := cmd.Flags().GetInt("limit")
	asJSON, _ := cmd.Flags().GetBool("json")
	if from < 0 {
		size, err := log.Size(cmd.Context())
		if err != nil {
			return err
		}
		from = max(0, size+from)
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	defer table.Flush()
	for shown := 0; shown < limit; {
		page, err := log.Read(cmd.Context(), from, 1000)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, n := range page {
			from = n.Seq + 1
			leaf, err := auditlog.ParseLeaf(n.Leaf)
			if err != nil {
				return err
			}
			if want := cli.Value(cmd, "request"); want != "" && (leaf.Request == nil || *leaf.Request != want) {
				continue
			}
			if asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", n.Leaf)
			} else {
				if shown == 0 {
					fmt.Fprintln(table, "LEAF\tTIME\tTYPE\tACTOR\tREQUEST\tPURPOSE\tTICKET\tROWS\tRESULT")
				}
				printLeaf(table, leaf)
			}
			if shown++; shown == limit {
				break
			}
		}
	}
	return nil
}

func printLeaf(w io.Writer, l auditlog.Leaf) {
	text := func(s *string) string {
		if s == nil {
			return "-"
		}
		return visible(*s)
	}
	rows := "-"
	if l.Rows != nil {
		rows = fmt.Sprint(*l.Rows)
	}
	fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Seq, l.TS.Format(time.DateTime), l.Type, visible(l.Actor), text(l.Request),
		text(l.Purpose), text(l.Ticket), rows, text(l.Result))
}

func newLogKeygen() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make the key that signs checkpoints: FILE, for the witness alone, and FILE.pub, for whoever verifies",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, done, err := newClient(cmd, false)
			if err != nil {
				return err
			}
			defer done()
			s, err := c.Vault.Settings(cmd.Context())
			if err != nil {
				return err
			}
			secretKey, publicKey, err := auditlog.GenerateKey(s.ID)
			if err != nil {
				return err
			}
			if err := writeNew(args[0], secretKey+"\n", 0o600); err != nil {
				return err
			}
			return writeNew(args[0]+".pub", publicKey+"\n", 0o644)
		},
	}
}

// writeNew writes a file that is not there yet.
func writeNew(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	_, err = f.WriteString(text)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	return nil
}

func newLogExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export FILE|-",
		Short: "Write the log to a bundle, to be verified anywhere",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := origin(cmd)
			if err != nil {
				return err
			}
			log, done, err := openLog(cmd)
			if err != nil {
				return err
			}
			defer done()
			var n int64
			export := func(out io.Writer) (err error) {
				n, err = auditlog.Export(cmd.Context(), out, name, log.Leaves())
				return err
			}
			if args[0] == "-" {
				err = export(cmd.OutOrStdout())
			} else {
				err = writeBundle(args[0], export)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d leaves\n", n)
			return nil
		},
	}
}

// writeBundle makes a file that is not there yet. Where it cannot be written whole, none is left.
func writeBundle(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	err = errors.Join(write(f), f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
