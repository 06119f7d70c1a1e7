package recovercmd

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	recovery "cloakroom/recover"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "recover",
		Short: "Ask for protected values, approve, open, and prove who saw what",
		Long:  `Ask for protected values, approve, open, and prove who saw what.`,
	}
	cli.AddVault(root)
	root.PersistentFlags().String("source-identity", "", "who runs this, logged as said beside the database login (default: USER@HOST)")
	root.PersistentFlags().String("notify-command", "", "program told of each request, decision and opening: a line of JSON on its standard input")
	root.AddCommand(newRequest(), newList(), newShow(), newApprove(), newDeny(), newReview(), newOpen(), newReplay(), newLog(), newReport())
	return root
}

// statementTimeout lets hand_out stream for as long as a large opening takes.
const statementTimeout = 15 * time.Minute

// newClient connects as the login of the database URL. needKEK is for commands that unwrap keys.
func newClient(cmd *cobra.Command, needKEK bool) (*recovery.Client, func(), error) {
	url, err := cli.DatabaseURL(cmd)
	if err != nil {
		return nil, nil, err
	}
	var set *kek.Set
	if needKEK {
		if set, err = kek.Open(cmd.Context(), cli.Value(cmd, "kek")); err != nil {
			return nil, nil, err
		}
	}
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "recover", StatementTimeout: statementTimeout, MaxConns: 4})
	if err != nil {
		return nil, nil, err
	}
	c := &recovery.Client{Vault: &keys.Vault{DB: db, KEK: set}, Dataset: dataset.Login(), SourceIdentity: cli.Value(cmd, "source-identity")}
	if c.SourceIdentity == "" {
		c.SourceIdentity = whoAmI()
	}
	return c, func() { db.Close() }, nil
}

func whoAmI() string {
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

func parseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("reading the request's id: want a UUID, as recover request printed it")
	}
	return id, nil
}

// forRequest runs f with the client and the request that the command's only argument names.
func forRequest(needKEK bool, f func(ctx context.Context, cmd *cobra.Command, c *recovery.Client, id uuid.UUID) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		id, err := parseID(args[0])
		if err != nil {
			return err
		}
		c, done, err := newClient(cmd, needKEK)
		if err != nil {
			return err
		}
		defer done()
		return f(cmd.Context(), cmd, c, id)
	}
}

func parseDate(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading --%s: want YYYY-MM-DD", flag)
	}
	return t, nil
}

func fieldList(text string) []string {
	var fields []string
	for f := range strings.SplitSeq(text, ",") {
		if f = strings.TrimSpace(f); f != "" {
			fields = append(fields, f)
		}
	}
	return fields
}
