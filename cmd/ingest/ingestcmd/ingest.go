package ingestcmd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/internal/queue"
	"cloakroom/keys"
)

// settings are the daemon's: its subcommands take them, too.
type settings struct {
	*cli.VaultFlags

	queueURL                     string
	queues                       []string
	sqsClient                    string
	wait, visibility, maxHold    time.Duration
	maxHeld, receivers, deleters int
	seals, sealBytes             int64
	keyAge                       time.Duration
	batchRows, loaders           int
	batchDelay, grace            time.Duration
	httpAddr                     string
	once, dryRun, asJSON         bool
	show                         int
	onceWait, maxOutage          time.Duration
	from, source                 string
	dataset, route               string
	unwrap, buckets              []string
	maxBody                      int64
	deleteObjects                bool
	date                         time.Time
}

// What a data key may seal at least. One batch takes its share at once, so a smaller cap would let
// no batch pass: 10,000 rows of 64 protected members, and 8 MiB of them with one event of 16 MiB.
const (
	leastSeals = 1 << 20
	leastBytes = 64 << 20
)

func newRoot() *cobra.Command {
	s := &settings{}
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Take events from a queue, a file or S3, seal them and load them",
		Long: `Take events from an SQS queue (or, with --from, a file or objects of S3), seal what is personal in them
and load them into Postgres.

Without --once or --from it runs until it is stopped. Then it stops receiving, commits and deletes what it
has in hand, and gives back the rest. Started as an AWS Lambda function it handles the calls of an SQS event
source mapping with ReportBatchItemFailures.`,
		Example: `  ingest --once
  ingest --from events.jsonl --dry-run
  zcat old.gz | ingest --from - --source old --date 2026-01-05
  ingest --from s3://archive/logins/2026/`,
		Args: cli.Args(),
	}
	s.VaultFlags = cli.AddVault(cmd)
	s.declareShared(cli.Shared(cmd))
	s.declareOwn(cli.Of(cmd))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case isS3(s.from):
			return ingestS3(cmd, s)
		case s.from != "":
			return ingestFile(cmd, s)
		case inLambda():
			return serveLambda(cmd, s)
		}
		return ingestQueues(cmd, s)
	}
	cmd.AddCommand(newTestCommand(s), newCheckCommand(s), newConfigCommand(cmd), newProbeCommand(s), newRejectionsCommand(s))
	return cmd
}

// declareShared declares what ingest check, config and probe look at, too.
func (s *settings) declareShared(f cli.Flags) {
	s.queueFlags(f)
	// SQS's limits: a poll of 20 s, 12 h of invisibility, 120,000 messages in flight.
	f.Duration(&s.wait, "poll-wait", 20*time.Second, cli.Between(time.Second, 20*time.Second),
		"how long a poll of the queue waits")
	f.Duration(&s.visibility, "visibility-timeout", 30*time.Second, cli.Between(time.Second, 12*time.Hour),
		"how long a received message is invisible to others; extended while it is held")
	f.Duration(&s.maxHold, "max-hold", 6*time.Hour, cli.Between(time.Second, 12*time.Hour),
		"how long to keep a message invisible")
	f.Int(&s.maxHeld, "max-in-flight", 20_000, cli.Between(leastHeld, 120_000), "most messages to hold, of all queues together")
	f.Int(&s.receivers, "receivers", 16, cli.Between(1, 256),
		"most receive calls at once, of each queue; it starts with one and adds more while the load keeps up. With "+
			"--from s3://…: most objects read at once")
	f.Int(&s.deleters, "deleters", 8, cli.Between(1, 64), "most delete calls at once, of each queue")
	f.OneOf(&s.sqsClient, "sqs-client", queue.ClientDirect, []string{queue.ClientDirect, queue.ClientSDK},
		"who receives and deletes: direct, at a third of the CPU, or sdk, the AWS SDK's client alone")
	f.Int64(&s.seals, "data-key-seals", 1<<28, cli.Between[int64](leastSeals, 1<<28),
		"most values to seal under one data key")
	f.Size(&s.sealBytes, "data-key-bytes", 64<<30, cli.Between[int64](leastBytes, 64<<30),
		"most bytes to seal under one data key")
	f.Duration(&s.keyAge, "data-key-age", time.Hour, cli.Between(time.Second, time.Hour),
		"how long to seal under one data key")
	f.Int(&s.batchRows, "batch-rows", 2000, cli.Between(1, 10_000), "most events in a batch")
	f.Duration(&s.batchDelay, "batch-delay", 100*time.Millisecond, cli.Between(time.Millisecond, 10*time.Second),
		"how long a batch waits for more events")
	f.Int(&s.loaders, "loaders", 2, cli.Between(1, 64), "database connections that load")
	f.Duration(&s.grace, "grace", 25*time.Second, cli.Between(time.Second, 10*time.Minute),
		"when stopped: how long to commit what is in hand; deletes then take up to "+
			cli.FormatDuration(closeTimeout)+" more")
	f.Check(&s.httpAddr, "http-addr", "address for /metrics, /livez and /readyz, such as :9464; empty: none", checkAddr)
}

// declareOwn declares what one run alone uses.
func (s *settings) declareOwn(f cli.Flags) {
	f.Bool(&s.once, "once", "end when each queue is empty")
	f.Duration(&s.onceWait, "once-wait", 0, cli.Between(time.Second, 12*time.Hour).OrZero("the visibility timeout"),
		"with --once: how long to wait for messages that another process holds")
	f.Duration(&s.maxOutage, "max-outage", time.Minute, cli.Between(time.Second, 24*time.Hour).OrZero("no limit"),
		"with --once or --from: how long queue, S3, database or KMS may be away before it gives up")
	f.String(&s.from, "from", "",
		"read JSON Lines or a JSON array from FILE, from standard input (-), or from each object under s3://BUCKET/PREFIX, "+
			"instead of the queue")
	f.String(&s.source, "source", "",
		"with --from FILE: the source's name, which makes the events' ids; empty: the file's SHA-256")
	f.Date(&s.date, "date", "with --from: create_date of the events; empty: the file's or the object's modification date, UTC")
	f.Bool(&s.dryRun, "dry-run", "say what would be stored or rejected; write and delete nothing")
	f.Int(&s.show, "show", 0, cli.Between(0, 1_000_000_000),
		"with --dry-run: the most events of which to show the row or the rejection; members in clear are shown as they are")
	f.Bool(&s.asJSON, "json", "print the summary as JSON")
	// What would be ignored is refused: somebody meant something by it.
	f.Needs("once-wait", "once")
	f.Needs("max-outage", "once", "from")
	f.Needs("source", "from")
	f.Needs("date", "from")
	f.Needs("show", "dry-run")
	f.Excludes("once", "from")
}

// checkAddr wants HOST:PORT or :PORT, or nothing.
func checkAddr(addr string) error {
	if addr == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return errors.New("HOST:PORT or :PORT")
	}
	return nil
}

// checkRoute wants a route, or nothing.
func checkRoute(text string) error {
	if text == "" {
		return nil
	}
	if _, err := etl.ParseRoute(text); err != nil {
		return errors.New("member:NAME or attribute:NAME")
	}
	return nil
}

// options are those of a run. A daemon waits through every outage: its events are safe in the queue, and a restart would
// mend nothing. A command that somebody waits for gives up.
func (s *settings) options() etl.Options {
	o := etl.Options{
		Receivers: s.receivers, Loaders: s.loaders, BatchRows: s.batchRows, BatchDelay: s.batchDelay, Grace: s.grace,
		Log: slog.Default(),
	}
	if s.once || s.from != "" {
		o.MaxOutage = s.maxOutage
	}
	return o
}

// statementTimeout is about a hundred times what a batch takes. A server that hangs, or a dead
// route to it, then holds a batch, and everybody who waits for a data key, for little longer than
// this.
const statementTimeout = 20 * time.Second

// vaultConfig: the loaders keep a connection each. The rest is for data keys, the vault's state, and probes.
func (s *settings) vaultConfig() cli.VaultConfig {
	return cli.VaultConfig{Program: "ingest", StatementTimeout: statementTimeout, MaxConns: s.loaders + 3}
}

// openWriter opens the vault for writing what these feeds bring. The last result closes it.
func (s *settings) openWriter(ctx context.Context, feeds []feed) (*etl.Writer, *keys.Vault, func(), error) {
	v, closeVault, err := s.Open(ctx, s.vaultConfig())
	if err != nil {
		return nil, nil, nil, err
	}
	caps := keys.Caps{Seals: uint64(s.seals), Bytes: uint64(s.sealBytes), Age: s.keyAge}
	w, err := newWriter(ctx, v, feeds, caps)
	if err != nil {
		closeVault()
		return nil, nil, nil, err
	}
	return w, v, closeVault, nil
}
