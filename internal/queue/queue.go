// Package queue takes messages off an SQS queue and gives them back.
//
// What it promises:
//
//   - A message is deleted only after Done was called for it.
//   - What is held is kept invisible to others: its visibility is extended at half time, by a goroutine that shares
//     nothing with the database, until Config.MaxHold.
//   - A delete that fails is tried again, entry by entry, with the newest receipt handle of the message.
//   - Close deletes what is done, and makes visible at once what is not.
//
// Receiving, deleting and extending go through SDK clients of their own, because the SDK's retry
// budget is shared by all calls of one client: a queue that refuses deletes would starve the
// heartbeat.
package queue

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloakroom/internal/queue/direct"
)

// maxBatch is SQS's limit on the entries of one call.
const maxBatch = 10

// Config says which queue, and how it is used. Zero fields take the defaults named beside them.
type Config struct {
	URL        string
	Wait       time.Duration // long poll, up to 20 s: 20 s; in whole seconds
	Visibility time.Duration // of a received message: 30 s; in whole seconds
	MaxHold    time.Duration // after which a message is no longer kept invisible: 6 h; SQS allows 12 h
	MaxHeld    int           // most messages held: 20,000
	MaxBytes   int64         // most body bytes held, give or take one receive: 256 MiB
	Deleters   int           // most delete calls at once: 8
	Client     string        // who receives and deletes: ClientDirect, the default, or ClientSDK
	Attribute  string        // the message attribute to receive, too; empty: none. It needs the SDK's client
	Observe    Observer      // told of each call; may be nil
}

// The clients that receive and delete. See package direct.
const (
	ClientDirect = "direct"
	ClientSDK    = "sdk"
)

// Observer is told of each call to SQS, for metrics.
type Observer interface {
	SQSRequest(operation string, err error, took time.Duration)
	Extended(messages, failed int)
}

func (c Config) withDefaults() (Config, error) {
	c.Wait = cmp.Or(c.Wait, 20*time.Second)
	c.Visibility = cmp.Or(c.Visibility, 30*time.Second)
	c.MaxHold = cmp.Or(c.MaxHold, 6*time.Hour)
	c.MaxHeld = cmp.Or(c.MaxHeld, 20_000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 256<<20)
	c.Deleters = cmp.Or(c.Deleters, 8)
	c.Client = cmp.Or(c.Client, ClientDirect)
	switch {
	case c.URL == "":
		return c, errors.New("no queue is configured: set CLOAKROOM_QUEUE_URL or --queue-url")
	case c.Client != ClientDirect && c.Client != ClientSDK:
		return c, fmt.Errorf("the SQS client is %s or %s, not %q", ClientDirect, ClientSDK, c.Client)
	case c.Wait < time.Second || c.Wait > 20*time.Second:
		return c, fmt.Errorf("a long poll lasts 1 to 20 s, not %v", c.Wait)
	case c.Visibility < time.Second || c.Visibility > 12*time.Hour:
		return c, fmt.Errorf("a visibility timeout lasts 1 s to 12 h, not %v", c.Visibility)
	case c.MaxHold < c.Visibility || c.MaxHold > 12*time.Hour:
		return c, fmt.Errorf("the hold lasts from the visibility timeout (%v) to 12 h, not %v", c.Visibility, c.MaxHold)
	case c.MaxHeld < 1, c.MaxBytes < 1, c.Deleters < 1:
		return c, fmt.Errorf("a queue needs room for 1 message, 1 byte and 1 deleter or more, not %d, %d and %d",
			c.MaxHeld, c.MaxBytes, c.Deleters)
	}
	return c, nil
}

// Queue is an SQS queue. It is safe for concurrent use.
type Queue struct {
	config    Config
	receiver  *sqs.Client
	deleter   *sqs.Client
	heartbeat *sqs.Client

	// Who receives and deletes first; nil: the SDK does, and why says for what setting.
	receives, deletes *direct.Client
	why               error
}

// Open prepares the clients; region, credentials and endpoint come from the AWS SDK's own
// configuration (AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_SQS, instance roles and so on). It makes
// no call.
func Open(ctx context.Context, c Config) (*Queue, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	// One pool of connections, wide enough that calls do not wait for one or open a new one.
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
		// Ten messages are read, and ten deletes written, at once.
		t.ReadBufferSize, t.WriteBufferSize = 16<<10, 16<<10
	})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(transport))
	if err != nil {
		return nil, fmt.Errorf("opening the queue: reading the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("opening the queue: no AWS region is configured: set AWS_REGION")
	}
	return newQueue(c, cfg), nil
}

func newQueue(c Config, cfg aws.Config) *Queue {
	cfg.APIOptions = append(slices.Clone(cfg.APIOptions), plainBody)
	unchecked := func(o *sqs.Options) { o.DisableMessageChecksumValidation = true } // receive checks
	q := &Queue{
		config: c, receiver: sqs.NewFromConfig(cfg, unchecked), deleter: sqs.NewFromConfig(cfg),
		heartbeat: sqs.NewFromConfig(cfg),
	}
	if c.Client == ClientDirect {
		q.receives, q.why = direct.New(q.receiver.Options(), c.URL)
		if q.why == nil {
			q.deletes, q.why = direct.New(q.deleter.Options(), c.URL)
		}
		if c.Attribute != "" {
			q.receives = nil // it does not read message attributes
		}
	}
	return q
}

// Visibility is the effective visibility timeout.
func (q *Queue) Visibility() time.Duration { return q.config.Visibility }

// Message is a message as SQS delivered it.
type Message struct {
	ID       string
	Body     []byte
	Sent     time.Time // SentTimestamp; zero where the server does not say
	Receives int       // ApproximateReceiveCount; 0 where the server does not say
	// Attribute is the text of the message attribute that Config names; empty: the message has none.
	Attribute string
	// Deleted is called once SQS has deleted the message, by a goroutine that others wait for; may be nil.
	Deleted func()

	handle string
}

// callTimeout bounds one call with the SDK's retries; a long poll has its wait besides.
const callTimeout = 10 * time.Second

// receive makes one call: a long poll for up to 10 messages.
//
// damaged counts those whose body is not the one that SQS made its MD5 of. They are left to be
// delivered again: the SDK, if it checked, would fail the whole call, and nobody would see the
// other nine until their visibility timeout.
func (q *Queue) receive(ctx context.Context, wait time.Duration) (messages []*Message, damaged int, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	began := time.Now()
	var finish []func(*sqs.Options)
	if q.receives != nil {
		got, damaged, err := q.receives.Receive(ctx, wait, q.config.Visibility)
		var over *direct.Handover
		if !errors.As(err, &over) {
			q.observe("ReceiveMessage", err, began)
			return messagesOf(got), damaged, explain("receiving messages", err)
		}
		finish = append(finish, over.Options)
	}
	var attributes []string
	if q.config.Attribute != "" {
		attributes = []string{q.config.Attribute}
	}
	out, err := q.receiver.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		MessageAttributeNames: attributes,
		QueueUrl:              &q.config.URL, MaxNumberOfMessages: maxBatch,
		WaitTimeSeconds: int32(wait.Seconds()), VisibilityTimeout: int32(q.config.Visibility.Seconds()),
		// Nothing that is not needed: the SDK's parsing of a response is the larger part of an
		// event's cost.
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameSentTimestamp, types.MessageSystemAttributeNameApproximateReceiveCount,
		},
	}, finish...)
	q.observe("ReceiveMessage", err, began)
	if err != nil {
		return nil, 0, explain("receiving messages", err)
	}
	messages = make([]*Message, 0, len(out.Messages))
	for i := range out.Messages {
		m := &out.Messages[i]
		if m.MessageId == nil || m.ReceiptHandle == nil {
			continue // nothing could be done with it, not even deleting
		}
		body := []byte(aws.ToString(m.Body))
		if m.MD5OfBody != nil && *m.MD5OfBody != md5Hex(body) {
			damaged++
			continue
		}
		messages = append(messages, &Message{
			ID: *m.MessageId, Body: body, handle: *m.ReceiptHandle,
			Sent:     epochMillis(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)]),
			Receives: atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]),

			Attribute: aws.ToString(m.MessageAttributes[q.config.Attribute].StringValue),
		})
	}
	return messages, damaged, nil
}

// closeIdle closes the connections that no call is using.
func (q *Queue) closeIdle() {
	if q.receives != nil && q.deletes != nil {
		q.receives.CloseIdle()
		q.deletes.CloseIdle()
	}
}

// messagesOf makes one array of what came in one call: the bodies are what weighs.
func messagesOf(got []direct.Message) []*Message {
	room := make([]Message, len(got))
	messages := make([]*Message, len(got))
	for i, m := range got {
		room[i] = Message{ID: m.ID, Body: m.Body, Sent: m.Sent, Receives: m.Receives, handle: m.Handle}
		messages[i] = &room[i]
	}
	return messages
}

// md5Hex is SQS's digest of a body: against damage on the way, not against anybody.
func md5Hex(body []byte) string {
	sum := md5.Sum(body)
	return hex.EncodeToString(sum[:])
}

func epochMillis(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

func (q *Queue) observe(operation string, err error, began time.Time) {
	if q.config.Observe != nil && !errors.Is(err, context.Canceled) {
		q.config.Observe.SQSRequest(operation, err, time.Since(began))
	}
}

// entryError is one entry of a batch that SQS refused.
type entryError struct {
	index int
	code  string
	gone  bool // no retry will help: the handle is no longer good
}

// deleteBatch deletes up to 10 messages and says which entries failed. Entries and results are
// matched by index.
func (q *Queue) deleteBatch(ctx context.Context, handles []string) ([]entryError, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := time.Now()
	var finish []func(*sqs.Options)
	if q.deletes != nil {
		err := q.deletes.DeleteBatch(ctx, handles)
		var over *direct.Handover
		if !errors.As(err, &over) {
			q.observe("DeleteMessageBatch", err, began)
			return nil, explain("deleting messages", err)
		}
		finish = append(finish, over.Options)
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(handles))
	for i := range handles {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: &ids[i], ReceiptHandle: &handles[i]}
	}
	in := &sqs.DeleteMessageBatchInput{QueueUrl: &q.config.URL, Entries: entries}
	out, err := q.deleter.DeleteMessageBatch(ctx, in, finish...)
	q.observe("DeleteMessageBatch", err, began)
	if err != nil {
		return nil, explain("deleting messages", err)
	}
	// Only what is confirmed is deleted: an entry in neither list counts as failed.
	confirmed := make([]bool, len(handles))
	for _, s := range out.Successful {
		if i, ok := indexOf(s.Id, len(handles)); ok {
			confirmed[i] = true
		}
	}
	return failures(confirmed, out.Failed), nil
}

var ids = [maxBatch]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

func indexOf(id *string, n int) (int, bool) {
	if id == nil || len(*id) != 1 || (*id)[0] < '0' || int((*id)[0]-'0') >= n {
		return 0, false
	}
	return int((*id)[0] - '0'), true
}

func failures(confirmed []bool, failed []types.BatchResultErrorEntry) []entryError {
	var out []entryError
	for i, ok := range confirmed {
		if ok {
			continue
		}
		e := entryError{index: i, code: "NoAnswer"}
		for _, f := range failed {
			if at, known := indexOf(f.Id, len(confirmed)); known && at == i {
				e.code = aws.ToString(f.Code)
			}
		}
		switch e.code {
		case "ReceiptHandleIsInvalid", "InvalidParameterValue",
			"MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight":
			e.gone = true
		}
		out = append(out, e)
	}
	return out
}
