package ingestcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/internal/objects"
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

func newCheckCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Connect to queue, database and KEK, and say what is wrong; changes nothing",
		Long: `Connect to queue, database and KEK, and say what is wrong. It changes nothing, but for one id of a
data key that is reserved and not used. Warnings (warn) do not fail it.`,
		Example: "  ingest check --config /etc/cloakroom/ingest.yaml",
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := &checker{out: cmd.OutOrStdout()}
			c.timing(s)
			c.queues(cmd.Context(), s)
			c.buckets(cmd.Context(), s)
			c.vault(cmd.Context(), s)
			if c.code != 0 {
				return cli.Exit(c.code, errors.New("some checks failed"))
			}
			return nil
		},
	}
}

func (c *checker) ok(format string, args ...any)   { cli.Printf(c.out, "ok    "+format+"\n", args...) }
func (c *checker) warn(format string, args ...any) { cli.Printf(c.out, "warn  "+format+"\n", args...) }

func (c *checker) fail(err error) {
	if c.code == 0 {
		c.code = cli.ExitCode(err)
	}
	cli.Printf(c.out, "FAIL  %s\n", err)
}

// timing looks at settings that are valid each and do not fit together.
func (c *checker) timing(s *settings) {
	if s.visibility < 4*s.batchDelay+10*time.Second {
		c.warn("a visibility timeout of %s is short for batches that wait %s and loads that may take seconds: "+
			"30s or more", cli.FormatDuration(s.visibility), cli.FormatDuration(s.batchDelay))
	}
}

// fewReceives is the redrive count below which outages alone may send messages to the dead-letter
// queue.
const fewReceives = 5

func (c *checker) queues(ctx context.Context, s *settings) {
	feeds, err := s.feeds()
	if err != nil {
		c.fail(err)
		return
	}
	for _, f := range feeds {
		c.queue(ctx, s, f, len(feeds))
	}
}

func (c *checker) queue(ctx context.Context, s *settings, f feed, of int) {
	q, err := queue.Open(ctx, s.queueConfig(f, of))
	if err != nil {
		c.fail(f.named(err, of))
		return
	}
	a, err := q.Attributes(ctx)
	if err != nil {
		c.fail(f.named(err, of))
		return
	}
	c.ok("%s: %d visible, %d in flight, %d delayed", f.where(of), a.Visible, a.Invisible, a.Delayed)
	switch {
	case a.DeadLetterARN == "":
		c.warn("%s: no dead-letter queue: a message that no version of ingest can take would come back without end",
			f.where(of))
	case a.MaxReceiveCount < fewReceives:
		c.warn("%s: it moves a message to the dead-letter queue after %d receives; receives count also when a "+
			"process dies or an outage outlasts --max-hold: set maxReceiveCount to %d or more",
			f.where(of), a.MaxReceiveCount, fewReceives)
	default:
		c.ok("%s: dead-letter queue after %d receives", f.where(of), a.MaxReceiveCount)
	}
}

// buckets looks whether bodies can be read out of S3. It asks for an object that nobody has: S3 says that it is not
// there only to those who may list the bucket, and refuses all others, which a daemon must take for an outage.
func (c *checker) buckets(ctx context.Context, s *settings) {
	feeds, err := s.feeds()
	if err != nil {
		return // queues has said it
	}
	store, err := openObjects(ctx, feeds)
	switch {
	case err != nil:
		c.fail(err)
		return
	case store == nil:
		return
	}
	for _, f := range feeds {
		for _, bucket := range f.buckets {
			body, _, err := store.Get(ctx, bucket, "cloakroom-check/"+uuid.NewString(), "")
			switch {
			case err == nil:
				body.Close()
			case errors.Is(err, objects.ErrDenied):
				c.fail(f.named(fmt.Errorf("%w; allow s3:ListBucket, too: without it a body that is not there is "+
					"held as long as one that is refused", err), len(feeds)))
			case objects.Outage(err):
				c.fail(f.named(err, len(feeds)))
			default:
				c.ok("%s: bodies in the bucket %s can be read", f.where(len(feeds)), bucket)
			}
		}
	}
	if !s.deleteObjects {
		c.warn("S3: the bodies of stored events stay there, in clear: set --s3-delete, or give the buckets a " +
			"lifecycle rule")
	}
}

func (c *checker) vault(ctx context.Context, set *settings) {
	v, closeVault, err := set.Open(ctx, set.vaultConfig())
	if err != nil {
		c.fail(err)
		return
	}
	defer closeVault()
	c.transport(set.DatabaseURL)
	s, err := v.Settings(ctx)
	if err != nil {
		c.fail(err)
		return
	}
	c.ok("database: vault %s, epoch %d", s.ID, s.Epoch)
	c.schema(ctx, v)
	if err := v.CompareClocks(ctx); err != nil {
		c.fail(err)
	} else {
		c.ok("database: its clock and this host's agree")
	}
	c.login(ctx, v)
	c.durability(ctx, v)
	c.keys(ctx, v, s, set)
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

// transport looks at whether the network could read what is loaded, or answer in the database's place.
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

const ownLogin = "give ingest a login of its own (keys grant LOGIN --role ingest)"

// login looks at what the login may do: no less than the API's listing gives to the role ingest, and no more. One line
// names all that is missing, since one grant mends it.
func (c *checker) login(ctx context.Context, v *keys.Vault) {
	var missing, denied pq.StringArray
	if err := v.DB.QueryRowxContext(ctx, `
		SELECT array_agg(f) FILTER (WHERE to_regprocedure(f) IS NULL),
		       array_agg(f) FILTER (WHERE NOT has_function_privilege(to_regprocedure(f), 'EXECUTE'))
		  FROM unnest($1::text[]) AS f`, pq.StringArray(pg.FunctionsOf("ingest"))).Scan(&missing, &denied); err != nil {
		c.fail(fmt.Errorf("looking at the login's grants: %w", pg.Redact(err)))
		return
	}
	if len(missing) > 0 {
		c.fail(fmt.Errorf("the schema has no %s: run keys init of this program's version", strings.Join(missing, ", ")))
	}
	if len(denied) > 0 {
		c.fail(cli.Exit(cli.ExitNotYours, fmt.Errorf("the login may not execute %s: keys grant LOGIN --role ingest",
			strings.Join(denied, ", "))))
	}
	if len(missing)+len(denied) > 0 {
		return
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
		c.warn("database: the login is a superuser: " + ownLogin)
	case too.Owner:
		c.warn("database: the login is a member of cloakroom_owner: " + ownLogin)
	case too.Tokens:
		c.warn("database: the login reads tokens and holds the index key: together they give back every address " +
			"(docs/threat-model.md)")
	default:
		c.ok("database: the login may do what ingest needs, and no more")
	}
}

// durability looks at what "committed" means: a message is deleted once its event is.
func (c *checker) durability(ctx context.Context, v *keys.Vault) {
	var fsync, commit string
	err := v.DB.QueryRowxContext(ctx, `SELECT current_setting('fsync'), current_setting('synchronous_commit')`).
		Scan(&fsync, &commit)
	if err != nil {
		c.fail(pg.Redact(err))
		return
	}
	if fsync != "on" {
		c.warn("database: fsync is off: events are deleted from the queue that a crash of the server may lose")
	}
	exposed, err := pg.Exposure(ctx, v.DB)
	if err != nil {
		c.fail(err)
	}
	for _, note := range exposed {
		c.warn("database: %s", note)
	}
	if commit == "off" {
		c.ok("database: synchronous_commit is off; ingest turns it on for its own transactions")
	}
}

func (c *checker) keys(ctx context.Context, v *keys.Vault, s keys.Settings, set *settings) {
	for _, note := range v.KEK.Notes() {
		c.warn("KEK: %s", note)
	}
	list, err := v.Datasets(ctx)
	if err != nil {
		c.fail(err)
		return
	}
	feeds, err := set.feeds()
	if err != nil {
		return // queues has said it
	}
	list, ok := c.datasets(list, feeds)
	if !ok {
		return
	}
	c.ok("datasets: %s", strings.Join(list.Names(), ", "))
	for i, d := range list {
		index, err := v.IndexKeys(ctx, s, d)
		if err != nil {
			c.fail(err)
		} else if i == 0 {
			c.ok("KEK: unwraps %s", cli.Count(len(index), "live index key"))
		}
		keys.DestroyIndexKeys(index)
	}
	// A data key whose id is reserved and never registered: it seals nothing and leaves a gap in
	// the ids.
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

// datasets are those that the queues write. With a route all are, and the default need not be named.
func (c *checker) datasets(all keys.Datasets, feeds []feed) (keys.Datasets, bool) {
	var written keys.Datasets
	for _, f := range feeds {
		routed := f.route != etl.Route{}
		if !routed || f.dataset != "" {
			d, err := all.Find(f.dataset)
			if err != nil {
				c.fail(f.named(err, len(feeds)))
				return nil, false
			}
			if !routed && !slices.Contains(written, d) {
				written = append(written, d)
			}
		}
		if routed {
			written = all
			break
		}
	}
	if len(feeds) > 1 {
		for _, f := range feeds {
			c.ok("%s: %s", f.where(len(feeds)), f.describe(all[0].Name))
		}
	}
	return written, true
}
