package recovercmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
	"cloakroom/recover/auditlog"
)

func (p *program) newLog() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show the audit log, sign checkpoints of it, export and verify it",
	}
	cmd.AddCommand(p.newLogShow(), p.newLogKeygen(), p.newLogCheckpoint(),
		p.newLogExport(), p.newLogVerify(), p.newLogProve())
	return cmd
}

// openLog connects to the audit log and names it. The third result closes it.
func (p *program) openLog(ctx context.Context) (log auditlog.Log, origin string, done func(), err error) {
	c, done, err := p.client(ctx, withoutKEK)
	if err != nil {
		return log, "", nil, err
	}
	s, err := c.Vault.Settings(ctx)
	if err != nil {
		done()
		return log, "", nil, err
	}
	return auditlog.Log{DB: c.Vault.DB}, auditlog.Origin(s.ID), done, nil
}

// logShowFlags are the flags of recover log show.
type logShowFlags struct {
	from    int64
	limit   int
	request uuid.UUID
	asJSON  bool
}

func (p *program) newLogShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show leaves; with --json the exact bytes that are hashed, one leaf a line",
		Example: "  recover log show --from -20\n  recover log show --request 0198c2f0-5f0e-7000-8000-000000000000",
		Args:    cli.Args(),
	}
	var o logShowFlags
	f := cli.Of(cmd)
	f.Int64(&o.from, "from", 0, cli.Between[int64](-1e12, 1e12),
		"number of the first leaf; negative: counted from the end")
	f.Int(&o.limit, "limit", 100, cli.Between(1, 1_000_000), "at most this many leaves")
	f.UUID(&o.request, "request", "only leaves of this request")
	f.Bool(&o.asJSON, "json", "print the exact bytes of the leaves")
	f.Complete("request", p.requestIDs(anyRequest))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.showLog(cmd, o) }
	return cmd
}

// showLog prints leaves page by page, so a long log does not have to fit in memory.
func (p *program) showLog(cmd *cobra.Command, o logShowFlags) error {
	log, _, done, err := p.openLog(cmd.Context())
	if err != nil {
		return err
	}
	defer done()
	if o.from < 0 {
		size, err := log.Size(cmd.Context())
		if err != nil {
			return err
		}
		o.from = max(0, size+o.from)
	}
	table := cli.NewTable("LEAF", "TIME (UTC)", "TYPE", "ACTOR", "REQUEST", "PURPOSE", "TICKET", "ROWS", "RESULT")
	out := exact(cmd.OutOrStdout())
	shown := 0
	err = eachLeaf(cmd.Context(), log, o, func(text []byte, leaf auditlog.Leaf) {
		shown++
		if o.asJSON {
			_, _ = fmt.Fprintf(out, "%s\n", text)
			return
		}
		addLeaf(table, leaf)
	})
	switch {
	case err != nil:
		return err
	case shown == 0 && o.request != uuid.Nil:
		cli.Note(cmd, "no leaf from %d on is about request %s", o.from, o.request)
	case !o.asJSON:
		return table.Print(cmd.OutOrStdout())
	}
	return nil
}

// exact is standard output without the guard, for bytes that are hashed. A terminal keeps the
// guard.
func exact(w io.Writer) io.Writer {
	if cli.IsTerminal(w) {
		return w
	}
	return cli.Raw(w)
}

// eachLeaf calls f with every leaf that the flags ask for.
func eachLeaf(ctx context.Context, log auditlog.Log, o logShowFlags, f func(text []byte, leaf auditlog.Leaf)) error {
	for shown := 0; ; {
		page, err := log.Read(ctx, o.from, 1000)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, n := range page {
			o.from = n.Seq + 1
			leaf, err := auditlog.ParseLeaf(n.Leaf)
			if err != nil {
				return err
			}
			if o.request != uuid.Nil && (leaf.Request == nil || *leaf.Request != o.request.String()) {
				continue
			}
			f(n.Leaf, leaf)
			if shown++; shown == o.limit {
				return nil
			}
		}
	}
}

func leaves(n int64) string { return cli.Count(n, "leaf", "leaves") }

// addLeaf adds a leaf to the table: what most readers look for. --json has the rest.
func addLeaf(t *cli.Table, l auditlog.Leaf) {
	text := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	var rows any = "-"
	if l.Rows != nil {
		rows = *l.Rows
	}
	result := text(l.Result)
	if l.Type == "policy" {
		c := recovery.PolicyChangeOf(l)
		result = fmt.Sprintf("%s from %s to %s", c.Name, setting(c.Old), setting(c.New))
	}
	t.Row(l.Seq, l.TS.UTC().Format(time.DateTime), l.Type, l.Actor,
		text(l.Request), text(l.Purpose), text(l.Ticket), rows, result)
}

// newLogKeygen writes the secret key with mode 0600. It never replaces a key: checkpoints signed
// with a lost key could not be continued.
func (p *program) newLogKeygen() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keygen FILE",
		Short:   "Make the key that signs checkpoints: FILE, for the witness alone, and FILE.pub, for those who verify",
		Example: "  recover log keygen signer",
		Args:    cli.Args("FILE"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, done, err := p.client(cmd.Context(), withoutKEK)
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
			return fmt.Errorf("writing the key: %w", err)
		}
		if err := writeNew(args[0]+".pub", publicKey+"\n", 0o644); err != nil {
			return fmt.Errorf("writing the public key: %w", err)
		}
		return nil
	}
	return cmd
}

// writeNew writes a file that is not there yet, whole or not at all.
func writeNew(path, text string, mode os.FileMode) error {
	f, err := createNewFile(path, mode)
	if err != nil {
		return err
	}
	defer f.discard()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.commit()
}

func (p *program) newLogExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "export FILE|-",
		Short:   "Write the log to a bundle, which can be verified anywhere",
		Example: "  recover log export bundle",
		Args:    cli.Args("FILE|-"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		log, origin, done, err := p.openLog(cmd.Context())
		if err != nil {
			return err
		}
		defer done()
		var n int64
		export := func(out io.Writer) (err error) {
			n, err = auditlog.Export(cmd.Context(), out, origin, log.Leaves())
			return err
		}
		if args[0] == "-" {
			err = export(exact(cmd.OutOrStdout()))
		} else {
			err = writeBundle(args[0], export)
		}
		if err != nil {
			return err
		}
		cli.Note(cmd, "%s", leaves(n))
		return nil
	}
	return cmd
}

// writeBundle makes a file that is not there yet, whole or not at all.
func writeBundle(path string, write func(io.Writer) error) error {
	f, err := createNewFile(path, 0o644)
	if err != nil {
		return err
	}
	defer f.discard()
	if err := write(f); err != nil {
		return err
	}
	if err := f.commit(); err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	return nil
}
