package ingestcmd

import (
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/internal/queue"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// ingestFlags are the flags of ingest; its subcommands take those that are persistent.
type ingestFlags struct {
	queueURL   string
	wait       time.Duration
	visibility time.Duration
	maxHold    time.Duration
	maxHeld    int
	receivers  int
	deleters   int
	sqsClient  string

	seals, sealBytes uint64
	keyAge           time.Duration

	batchRows, loaders int
	batchDelay         time.Duration
	grace              time.Duration
	httpAddr           string

	once, dryRun, asJSON bool
	onceWait, maxOutage  time.Duration
	from, source, date   string
}

func newIngestCommand() *cobra.Command {
	var f ingestFlags
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Take events from a queue or a file, seal them and load them",
		Long: `Take events from an SQS queue (or, with --from, a file), seal what is personal in them and load them into Postgres.
Without --once or --from it runs until it is stopped: then it stops receiving, commits and deletes what it has in hand,
and gives back the rest. Started as an AWS Lambda function it handles the calls of an SQS event source mapping with
ReportBatchItemFailures.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.from != "" {
				return ingestFile(cmd, &f)
			}
			if inLambda() {
				return serveLambda(cmd, &f)
			}
			return ingestQueue(cmd, &f)
		},
	}
	cli.AddVault(cmd)
	shared := cmd.PersistentFlags()
	shared.StringVar(&f.queueURL, "queue-url", "", "URL of the SQS queue")
	shared.DurationVar(&f.wait, "poll-wait", 20*time.Second, "how long a poll of the queue waits: 1s to 20s")
	shared.DurationVar(&f.visibility, "visibility-timeout", 30*time.Second, "how long a received message is invisible to others; extended while it is held")
	shared.DurationVar(&f.maxHold, "max-hold", 6*time.Hour, "how long a message is kept invisible at the most")
	shared.IntVar(&f.maxHeld, "max-in-flight", 20_000, "messages held at the most")
	shared.IntVar(&f.receivers, "receivers", 16, "concurrent receive calls at the most; it starts with one and adds while the pipeline is hungry")
	shared.IntVar(&f.deleters, "deleters", 8, "concurrent delete calls at the most")
	shared.StringVar(&f.sqsClient, "sqs-client", queue.ClientDirect, "who receives and deletes: direct, at a third of the CPU, or sdk, the AWS SDK's client alone")
	shared.Uint64Var(&f.seals, "data-key-seals", 0, "values that one data key seals at the most (default and ceiling 2^28)")
	shared.Uint64Var(&f.sealBytes, "data-key-bytes", 0, "bytes that one data key seals at the most (default and ceiling 64 GiB)")
	shared.DurationVar(&f.keyAge, "data-key-age", 0, "how long one data key seals at the most (default and ceiling 1h)")
	shared.IntVar(&f.batchRows, "batch-rows", 2000, "events in a batch at the most")
	shared.DurationVar(&f.batchDelay, "batch-delay", 100*time.Millisecond, "a batch waits this long for more events")
	shared.IntVar(&f.loaders, "loaders", 2, "database connections that load")
	shared.DurationVar(&f.grace, "grace", 25*time.Second, "when stopped: how long to commit what is in hand")
	shared.StringVar(&f.httpAddr, "http-addr", "", "address for /metrics, /livez and /readyz, such as :9464 (default: none)")

	flags := cmd.Flags()
	flags.BoolVar(&f.once, "once", false, "end when the queue is empty")
	flags.DurationVar(&f.onceWait, "once-wait", 0, "with --once: wait this long for messages that another process holds (default: the visibility timeout)")
	flags.DurationVar(&f.maxOutage, "max-outage", time.Minute, "with --once or --from: how long queue, database or KMS may be away before giving up")
	flags.StringVar(&f.from, "from", "", "read JSON Lines or a JSON array from FILE, or from standard input (-), instead of the queue")
	flags.StringVar(&f.source, "source", "", "with --from: the source's name, which makes the events' ids (default: the file's SHA-256)")
	flags.StringVar(&f.date, "date", "", "with --from: create_date of the events, YYYY-MM-DD (default: the file's modification date, UTC)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be stored or rejected; write and delete nothing")
	flags.BoolVar(&f.asJSON, "json", false, "print the summary as JSON")
	cmd.AddCommand(newCheckCommand(&f), newConfigCommand(cmd), newProbeCommand(&f), newRejectionsCommand())
	return cmd
}

func (f *ingestFlags) options() etl.Options {
	o := etl.Options{
		Receivers: f.receivers, Loaders: f.loaders, BatchRows: f.batchRows, BatchDelay: f.batchDelay, Grace: f.grace,
		Log: slog.Default(),
	}
	if f.once || f.from != "" {
		o.MaxOutage = f.maxOutage
	}
	return o
}

func (f *ingestFlags) caps() keys.Caps {
	return keys.Caps{Seals: f.seals, Bytes: f.sealBytes, Age: f.keyAge}
}

func (f *ingestFlags) queueConfig() queue.Config {
	return queue.Config{
		URL: f.queueURL, Wait: f.wait, Visibility: f.visibility, MaxHold: f.maxHold, MaxHeld: f.maxHeld, Deleters: f.deleters,
		Client: f.sqsClient,
	}
}

// statementTimeout is some hundred times what a batch takes. A server that hangs, or a dead route to it, holds a batch for
// little longer, and whoever waits for a data key with it.
const statementTimeout = 20 * time.Second

// openVault opens the configured database and KEK. The second result closes them.
func openVault(cmd *cobra.Command, f *ingestFlags) (*keys.Vault, func(), error) {
	url, err := cli.DatabaseURL(cmd)
	if err != nil {
		return nil, nil, err
	}
	set, err := kek.Open(cmd.Context(), cli.Value(cmd, "kek"))
	if err != nil {
		return nil, nil, err
	}
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom ingest", StatementTimeout: statementTimeout, MaxConns: f.loaders + 3})
	if err != nil {
		return nil, nil, err
	}
	return &keys.Vault{DB: db, KEK: set}, func() { db.Close() }, nil
}

// openWriter is openVault for writing: it reads the vault's state and unwraps the index key.
func openWriter(cmd *cobra.Command, f *ingestFlags) (*etl.Writer, *keys.Vault, func(), error) {
	v, closeVault, err := openVault(cmd, f)
	if err != nil {
		return nil, nil, nil, err
	}
	w, err := etl.NewWriter(cmd.Context(), v, dataset.Login(), f.caps())
	if err != nil {
		closeVault()
		return nil, nil, nil, err
	}
	return w, v, closeVault, nil
}
