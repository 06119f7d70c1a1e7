// Package sqsserver is the sandbox's fake of Amazon SQS: an HTTP server in this process, which keeps its messages in
// memory. It speaks the wire protocol well enough that the real aws-sdk-go-v2 client cannot tell.
//
// To point a client at it, give it the server's URL and any credentials:
//
//	srv := sqsserver.New(sqsserver.Config{})
//	if err := srv.Start(); err != nil { … }
//	defer srv.Close()
//	client := sqs.New(sqs.Options{
//		Region:       "us-east-1",
//		BaseEndpoint: aws.String(srv.URL()),
//		Credentials:  credentials.NewStaticCredentialsProvider("ingest", "a secret of 16 and more", ""),
//	})
//
// or set AWS_ENDPOINT_URL_SQS, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. (Under GODEBUG=fips140=only
// a signature needs a secret of ten characters at least, and MD5, which SQS cannot do without, is refused.)
//
// What it promises: standard queues with visibility timeouts, delays, long polls, dead-letter queues, and every limit
// and error shape that cloakroom's code can meet. A message that was sent stays until it is deleted, purged or moved to
// a dead-letter queue. Each receive gives a new receipt handle. Deleting with a handle that a later receive made stale
// succeeds and does nothing. Deleting with the newest handle works even after its visibility timeout ran out. Changing
// the visibility with a stale handle is refused, as it is for a message that is gone.
//
// It has the operations that cloakroom calls, and those that its tests and its users need around them:
//
//   - ReceiveMessage, DeleteMessageBatch, ChangeMessageVisibilityBatch, GetQueueAttributes: internal/queue receives,
//     settles and checks a queue with them. The batches' single forms, DeleteMessage and ChangeMessageVisibility, are
//     what the conformance suite and a user's own client call; both run the same code.
//   - SendMessage, SendMessageBatch: producers, the demo, and rejections that are sent again.
//   - CreateQueue, GetQueueUrl, PurgeQueue, DeleteQueue: what sets a queue up, names it, empties it and takes it away.
//
// Everything else answers UnsupportedOperation. Moving dead letters back (StartMessageMoveTask) is an operator's step
// on AWS: what ingest sees of it is a new message, which a test can send.
//
// What it does not do: FIFO queues, permissions, tags, encryption, persistence. It is stricter and calmer than AWS: it
// delivers in the order of sending, never twice unless told to, and counts exactly. It tells MessageRetentionPeriod and
// does not enforce it. The name of a deleted queue is free at once.
package sqsserver

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// Config of a server. The zero value is a server that lets in everybody, on a free port.
type Config struct {
	Addr    string // where Start listens; empty: a free port of 127.0.0.1
	Region  string // empty: us-east-1
	Account string // twelve digits; empty: 000000000000

	// Secrets maps the access keys that are let in to their secrets. An empty secret lets the key in without checking
	// its signatures. nil lets in everybody.
	Secrets map[string]string
	// InFlightLimit is how many messages of a queue may be in flight; 0: 120,000, as at AWS.
	InFlightLimit int
	// CallLog is how many calls Calls remembers; 0: 4096; negative: none.
	CallLog int
	// Now is the clock of timestamps and deadlines; nil: time.Now. A long poll waits in real time anyway.
	Now func() time.Time
}

// Server is a fake SQS.
type Server struct {
	config   Config
	handles  handles
	endpoint awswire.Endpoint
	faults   awswire.Faults
	entries  entryFaults
	calls    *awswire.Recent[Call]
	loopback awswire.Loopback

	mu     sync.RWMutex // taken after a queue's lock, never before
	queues map[string]*queue
	lastID uint32
}

// New returns a server that does not listen yet. It serves HTTP already, as a handler.
func New(config Config) *Server {
	config.Region = or(config.Region, "us-east-1")
	config.Account = or(config.Account, "000000000000")
	config.InFlightLimit = or(config.InFlightLimit, 120_000)
	config.CallLog = or(config.CallLog, 4096)
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Server{
		config:  config,
		handles: handles{seed: maphash.MakeSeed()},
		queues:  map[string]*queue{},
		calls:   awswire.NewRecent[Call](config.CallLog),
	}
	s.endpoint = awswire.Endpoint{
		TargetPrefix: "AmazonSQS.",
		ContentType:  "application/x-amz-json-1.0",
		Namespace:    "com.amazonaws.sqs#",
		LegacyCodes:  true,
		Keys: &awswire.Keys{
			Secrets:      config.Secrets,
			Unknown:      ErrInvalidClientTokenID,
			BadSignature: ErrSignatureDoesNotMatch,
		},
		Faults:   &s.faults,
		Resource: queueOf,
		Do:       s.do,
		Observe:  s.observe,
		Now:      config.Now,
	}
	return s
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.endpoint.ServeHTTP(w, r) }

// Start listens. After Close it listens at the same address again, with the same messages.
func (s *Server) Start() error { return s.loopback.Start(s.config.Addr, s) }

// URL is the endpoint for clients, such as "http://127.0.0.1:40123"; empty before Start.
func (s *Server) URL() string { return s.loopback.URL() }

// Close cuts every connection and ends waiting receives. The messages stay.
func (s *Server) Close() error { return s.loopback.Close() }

// QueueURL is the URL of a queue, whether it exists or not; Start comes first.
func (s *Server) QueueURL(name string) string {
	return s.URL() + "/" + s.config.Account + "/" + name
}

// Operations are the names of what this fake can do, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// operations are listed, and why these, in the package's comment.
var operations = map[string]func(*Server, context.Context, *awswire.Call) error{
	"ReceiveMessage":               (*Server).receiveMessage,
	"DeleteMessage":                atOnce((*Server).deleteMessage),
	"DeleteMessageBatch":           atOnce((*Server).deleteMessageBatch),
	"ChangeMessageVisibility":      atOnce((*Server).changeMessageVisibility),
	"ChangeMessageVisibilityBatch": atOnce((*Server).changeMessageVisibilityBatch),
	"SendMessage":                  atOnce((*Server).sendMessage),
	"SendMessageBatch":             atOnce((*Server).sendMessageBatch),
	"CreateQueue":                  atOnce((*Server).createQueue),
	"DeleteQueue":                  atOnce((*Server).deleteQueue),
	"GetQueueUrl":                  atOnce((*Server).getQueueURL),
	"GetQueueAttributes":           atOnce((*Server).getQueueAttributes),
	"PurgeQueue":                   atOnce((*Server).purgeQueue),
}

// atOnce is an operation that never waits, so that it needs no context.
func atOnce(op func(*Server, *awswire.Call) error) func(*Server, context.Context, *awswire.Call) error {
	return func(s *Server, _ context.Context, c *awswire.Call) error { return op(s, c) }
}

func (s *Server) do(ctx context.Context, c *awswire.Call) error {
	op, ok := operations[c.Op]
	if !ok {
		return ErrUnsupportedOperation.Because(fmt.Sprintf("This fake of SQS has no operation %q.", c.Op))
	}
	return op(s, ctx, c)
}
