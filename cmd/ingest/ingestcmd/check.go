package ingestcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/internal/queue"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// checker connects to everything that ingest needs and says what is wrong.
type checker struct {
	out  io.Writer
	code int // of the first failure
}

func newCheckCommand(f *ingestFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Connect to queue, database and KEK, and say what is wrong; changes nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := &checker{out: cmd.OutOrStdout()}
			c.settings(f)
			c.queue(cmd.Context(), f)
			c.vault(cmd, f)
			if c.code != 0 {
				return cli.Exit(c.code, errors.New("some checks failed"))
			}
			return nil
		},
	}
}

func (c *checker) ok(format string, args ...any)   { fmt.Fprintf(c.out, "ok    "+format+"\n", args...) }
func (c *checker) warn(format string, args ...any) { fmt.Fprintf(c.out, "warn  "+format+"\n", args...) }

func (c *checker) fail(err error) {
	if c.code == 0 {
		c.code = cli.ExitCode(err)
	}
	fmt.Fprintf(c.out, "FAIL  %s\n", cli.Text(err.Error()))
}

func (c *checker) settings(f *ingestFlags) {
	if _, err := f.caps().Normalised(); err != nil {
		c.fail(err)
	}
	if f.visibility < 4*f.batchDelay+10*time.Second {
		c.warn("a visibility timeout of %v is short for batches that wait %v and loads that may take seconds: 30s or more", f.visibility, f.batchDelay)
	}
}

// fewReceives is the redrive count under which messages may reach the dead-letter queue for the infrastructure's faults.
const fewReceives = 5

func (c *checker) queue(ctx context.Context, f *ingestFlags) {
	q, err := queue.Open(ctx, f.queueConfig())
	if err != nil {
		c.fail(err)
		return
	}
	a, err := q.Attributes(ctx)
	if err != nil {
		c.fail(err)
		return
	}
	c.ok("queue: %d visible, %d in flight, %d delayed", a.Visible, a.Invisible, a.Delayed)
	switch {
	case a.DeadLetterARN == "":
		c.warn("queue: no dead-letter queue: a message that no version of ingest can take would come back for ever")
	case a.MaxReceiveCount < fewReceives:
		c.warn("queue: it moves a message to the dead-letter queue after %d receives; receives count also when a process dies or an outage outlasts --max-hold: set maxReceiveCount to %d or more", a.MaxReceiveCount, fewReceives)
	default:
		c.ok("queue: dead-letter queue after %d receives", a.MaxReceiveCount)
	}
}

func (c *checker) vault(cmd *cobra.Command, f *ingestFlags) {
	ctx := cmd.Context()
	v, closeVault, err := openVault(cmd, f)
	if err != nil {
		c.fail(err)
		return
	}
	defer closeVault()
	c.transport(cli.Value(cmd, "database-url"))
	s, err := v.Settings(ctx)
	if err != nil {
		c.fail(err)
		return
	}
	c.ok("database: vault %s, epoch %d", s.ID, s.Epoch)
	c.schema(ctx, v)
	c.login(ctx, v)
	c.durability(ctx, v)
	c.keys(ctx, v, s)
}

func (c *checker) schema(ctx context.Context, v *keys.Vault) {
	stored, program, err := pg.SchemaVersion(ctx, v.DB)
	switch {
	case err != nil:
		c.fail(err)
	case stored != program:
		c.warn("schema: %s", stored.Difference(program))
	default:
		c.ok("schema: %v", stored)
	}
}

func (c *checker) transport(url string) {
	mode := pg.SSLMode(url)
	switch {
	case pg.Loopback(url):
		c.ok("database: on this machine")
	case mode != "verify-full":
		c.warn("database: sslmode=%s does not check who answers: use sslmode=verify-full", mode)
	default:
		c.ok("database: sslmode=verify-full")
	}
}

// doors are the functions that ingest needs.
var doors = []string{
	"vault()", "live_index_keys()", "reserve_data_key()", "register_data_key(integer,date,text,text,bytea,bytea)",
	"registered_data_key(integer)", "stage(boolean)", "load(bigint,timestamptz,integer[],bytea[],boolean)", "require_clock(timestamptz)", "fix_source(text,date)",
}

func (c *checker) login(ctx context.Context, v *keys.Vault) {
	for _, door := range doors {
		var may bool
		if err := v.DB.GetContext(ctx, &may, `SELECT has_function_privilege($1, 'EXECUTE')`, "cloakroom."+door); err != nil {
			c.fail(fmt.Errorf("looking at the grants of %s: %w", door, pg.Redact(err)))
		} else if !may {
			c.fail(fmt.Errorf("the login may not execute cloakroom.%s: keys grant LOGIN --role ingest", door))
		}
	}
	var too struct {
		Super  bool `db:"super"`
		Owner  bool `db:"owner"`
		Tokens bool `db:"tokens"`
	}
	if err := v.DB.GetContext(ctx, &too, `
		SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) AS super,
		       pg_has_role('cloakroom_owner', 'MEMBER') AS owner,
		       pg_has_role('cloakroom_analyst', 'MEMBER') AS tokens`); err != nil {
		c.fail(pg.Redact(err))
		return
	}
	switch {
	case too.Super:
		c.warn("database: the login is a superuser: give ingest a login of its own (keys grant LOGIN --role ingest)")
	case too.Owner:
		c.warn("database: the login is a member of cloakroom_owner: give ingest a login of its own (keys grant LOGIN --role ingest)")
	case too.Tokens:
		c.warn("database: the login reads tokens and holds the index key: together they give back every address (docs/threat-model.md)")
	default:
		c.ok("database: the login may do what ingest needs, and no more")
	}
}

func (c *checker) durability(ctx context.Context, v *keys.Vault) {
	var fsync, commit string
	if err := v.DB.QueryRowxContext(ctx, `SELECT current_setting('fsync'), current_setting('synchronous_commit')`).Scan(&fsync, &commit); err != nil {
		c.fail(pg.Redact(err))
		return
	}
	if fsync != "on" {
		c.warn("database: fsync is off: events are deleted from the queue that a crash of the server may lose")
	}
	if commit == "off" {
		c.ok("database: synchronous_commit is off; ingest turns it on for its own transactions")
	}
}

func (c *checker) keys(ctx context.Context, v *keys.Vault, s keys.Settings) {
	for _, note := range v.KEK.Notes() {
		c.warn("KEK: %s", note)
	}
	index, err := v.IndexKeys(ctx, s, dataset.Login())
	if err != nil {
		c.fail(err)
	} else {
		c.ok("KEK: unwraps %d live index key(s)", len(index))
	}
	// A data key of an id that is reserved and never registered: it seals nothing and leaves a gap in the ids.
	var id uint32
	if err := v.DB.GetContext(ctx, &id, `SELECT cloakroom.reserve_data_key()`); err != nil {
		c.fail(pg.Redact(err))
		return
	}
	key, _, err := v.KEK.GenerateDataKey(ctx, kek.Binding{Vault: s.ID, Purpose: kek.Seal, Key: id})
	key.Destroy()
	if err != nil {
		c.fail(err)
		return
	}
	c.ok("KEK: %s makes data keys", v.KEK.Current())
}
