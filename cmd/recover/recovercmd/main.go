// Package recovercmd is the program recover: one file a command. It is a package of its own so that
// cmd/demo, which is one binary, can run it under its name.
package recovercmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

// Main runs the program and ends the process with its exit code.
func Main() { os.Exit(cli.Main(newRoot())) }

// Describe lists the commands, for the reference page.
func Describe() []cli.Command { return cli.Describe(newRoot()) }

// program holds the flags that all commands share.
type program struct {
	vault          *cli.VaultFlags
	sourceIdentity string
	notifyCommand  string
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "recover",
		Short: "Request protected values, approve, open, and prove who saw what",
		Long: `Request protected values, approve, open, and prove who saw what.

An auditor requests, an approver decides, and the auditor opens what was approved, once. Every step
is in the audit log before it takes effect.`,
	}
	p := &program{vault: cli.AddVault(root)}
	f := cli.Shared(root)
	f.String(&p.sourceIdentity, "source-identity", "",
		"who runs this; logged as a claim beside the database login (default: USER@HOST)")
	f.String(&p.notifyCommand, "notify-command", "",
		"program that is told of each request, decision and opening: a line of JSON on its standard input")
	root.AddCommand(p.newRequest(), p.newList(), p.newShow(), p.newApprove(), p.newDeny(), p.newReview(),
		p.newOpen(), p.newReplay(), p.newLog(), p.newReport())
	return root
}

// kekUse says whether a command unwraps keys.
type kekUse bool

const (
	withKEK    kekUse = true
	withoutKEK kekUse = false
)

// statementTimeout lets the database stream rows for as long as a large opening takes.
const statementTimeout = 15 * time.Minute

// client opens the vault as the login of the database URL. The second result closes it.
func (p *program) client(ctx context.Context, use kekUse) (*recovery.Client, func(), error) {
	v, done, err := p.vault.Open(ctx, cli.VaultConfig{
		Program: "recover", NoKEK: use == withoutKEK, StatementTimeout: statementTimeout, MaxConns: 4,
	})
	if err != nil {
		return nil, nil, err
	}
	identity := cmp.Or(p.sourceIdentity, userAtHost())
	return &recovery.Client{Vault: v, SourceIdentity: identity}, done, nil
}

func userAtHost() string {
	name := "?"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return name + "@" + host
}

// requestFunc is what a command does with the request that its argument names.
type requestFunc func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error

// forRequest makes cmd a command about one request, ID. The shell completes the ids of requests
// that fit.
func (p *program) forRequest(cmd *cobra.Command, use kekUse, fits func(recovery.Summary) bool, f requestFunc) {
	cmd.Args = cli.Args("ID")
	cli.CompleteArgs(cmd, p.requestIDs(fits))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := uuid.Parse(args[0])
		if err != nil {
			return cli.Usage(cmd, fmt.Errorf("reading ID: %q: want a request's id, as recover list shows it", args[0]))
		}
		c, done, err := p.client(cmd.Context(), use)
		if err != nil {
			return err
		}
		defer done()
		return f(cmd.Context(), cmd, c, id)
	}
}

// requestIDs completes ids of requests, with what tells them apart.
func (p *program) requestIDs(fits func(recovery.Summary) bool) cli.Completer {
	return func(ctx context.Context, _ *cobra.Command) ([]string, error) {
		c, done, err := p.client(ctx, withoutKEK)
		if err != nil {
			return nil, err
		}
		defer done()
		list, err := c.List(ctx, false, false)
		if err != nil {
			return nil, err
		}
		var ids []string
		for _, r := range slices.Backward(list) { // the newest first
			if fits(r) {
				ids = append(ids, fmt.Sprintf("%s\t%s, %s, %s by %s", r.ID, r.State, r.Ticket, r.Purpose, r.Requester))
			}
		}
		return ids, nil
	}
}

func anyRequest(recovery.Summary) bool { return true }

// inState fits requests in one of some states.
func inState(states ...string) func(recovery.Summary) bool {
	return func(r recovery.Summary) bool { return slices.Contains(states, r.State) }
}

var errDatesReversed = errors.New("--to is before --from: nothing lies between")
