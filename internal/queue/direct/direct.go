// Package direct makes the two calls that a busy consumer spends its time on, ReceiveMessage and DeleteMessageBatch,
// without the middleware of the AWS SDK, which costs more than all else that happens to a message.
//
// What it takes from the SDK: region, endpoint, credentials, the signature (aws/signer/v4), and the HTTP client's
// dialer and TLS settings, AWS_CA_BUNDLE among them. What is its own: HTTP/1.1 over connections that it keeps, request
// bodies, and the parsing of the answers it expects.
//
// It decides nothing about errors. Any outcome but the plain success of a call comes back as a *Handover, which makes
// the SDK's client take the answer or the error for that of its own first attempt. So the SDK types errors, backs off,
// tries again and learns about a wrong clock exactly as if it had made the call, nothing is asked for twice, and no
// answer is thrown away with the messages in it.
package direct

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

const (
	opReceive = "ReceiveMessage"
	opDelete  = "DeleteMessageBatch"
)

// MaxEntries is SQS's limit on messages in one call.
const MaxEntries = 10

const (
	// restTime is how long every call is left to the SDK after an answer that this package does not understand.
	restTime = 5 * time.Minute
	// maxSkew is how far the server's clock may be off before the SDK must sign, which corrects for it. SQS refuses
	// signatures that are 5 minutes old; the SDK begins to correct at 4.
	maxSkew = 4 * time.Minute
)

// Client makes calls about one queue. It is safe for concurrent use.
type Client struct {
	credentials aws.CredentialsProvider
	retryer     aws.Retryer
	signer      signer
	pool        pool
	scratch     sync.Pool    // of *scratch
	restUntil   atomic.Int64 // Unix nanoseconds; the SDK makes all calls until then
}

// scratch is what one call needs, kept for the next.
type scratch struct {
	body, request, answer []byte
	signing               http.Request
	parser                parser
}

// maxKept bounds an answer's buffer that is kept for the next call. Ten messages of 25 kB fit.
const maxKept = 256 << 10

// New prepares a client that acts for an SDK client with these options. An error says which setting this package does
// not know: the SDK must make every call then.
func New(o sqs.Options, queueURL string) (*Client, error) {
	if err := supported(o); err != nil {
		return nil, err
	}
	endpoint, err := endpointOf(o)
	if err != nil {
		return nil, err
	}
	dial, err := dialerOf(o.HTTPClient, endpoint)
	if err != nil {
		return nil, err
	}
	sign, err := newSigner(o, endpoint, queueURL)
	if err != nil {
		return nil, err
	}
	c := &Client{credentials: o.Credentials, retryer: o.Retryer, signer: sign, pool: pool{dial: dial}}
	c.scratch.New = func() any { return &scratch{} }
	return c, nil
}

// Receive makes one poll for up to ten messages, with SentTimestamp and ApproximateReceiveCount. Both durations are in
// whole seconds.
//
// damaged counts the messages whose body does not match its MD5. They are not returned, so that SQS delivers them
// again: the SDK, if it checked, would fail the call, and hide all ten until their visibility timeout.
//
// An error is a *Handover, or the context's.
func (c *Client) Receive(ctx context.Context, wait, visibility time.Duration) (
	messages []Message, damaged int, err error,
) {
	s := c.scratch.Get().(*scratch)
	defer c.release(s)
	s.body = c.signer.appendReceive(s.body[:0], wait, visibility)
	err = c.call(ctx, s, opReceive, func(answer []byte) (err error) {
		messages, damaged, err = s.parser.received(answer)
		return err
	})
	return messages, damaged, err
}

// DeleteBatch deletes up to ten messages. It returns nil only where SQS confirms each of them.
//
// An error is a *Handover, or the context's. An answer that confirms some goes to the SDK, too.
func (c *Client) DeleteBatch(ctx context.Context, handles []string) error {
	s := c.scratch.Get().(*scratch)
	defer c.release(s)
	var err error
	if s.body, err = c.signer.appendDelete(s.body[:0], handles); err != nil {
		return &Handover{reason: err}
	}
	return c.call(ctx, s, opDelete, func(answer []byte) error { return s.parser.deleted(answer, len(handles)) })
}

// CloseIdle closes the connections that no call is using.
func (c *Client) CloseIdle() { c.pool.closeIdle() }

func (c *Client) release(s *scratch) {
	if cap(s.answer) > maxKept {
		s.answer = nil
	}
	s.parser.forget()
	c.scratch.Put(s)
}

// call sends s.body and has the answer parsed. The credentials are asked for at each call: the SDK's cache returns
// them, and renews them before they expire.
func (c *Client) call(ctx context.Context, s *scratch, operation string, parse func(answer []byte) error) error {
	now := time.Now()
	if now.UnixNano() < c.restUntil.Load() {
		return &Handover{reason: errResting}
	}
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return &Handover{reason: err} // the SDK asks for them, too, and reports what is wrong
	}
	request, err := c.signer.request(ctx, s, operation, credentials, now)
	if err != nil {
		return &Handover{reason: err}
	}
	a, err := c.pool.exchange(ctx, request, s.answer)
	s.answer = a.body[:0]
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("waiting for an answer from %s: %w", c.signer.host, ctx.Err())
	}
	if err == nil {
		if err = c.judge(a, parse); err == nil {
			// The SDK's budget of retries grows with each call that goes well.
			_ = c.retryer.GetInitialToken()(nil)
			return nil
		}
	}
	return c.handOver(a, err)
}

var (
	errResting = errors.New("an earlier answer was not understood")
	errStatus  = errors.New("the status is not 200")
)

// judge parses an answer that is what it should be. A compressed one was not asked for, so that net/http would not
// expect it, either.
func (c *Client) judge(a answer, parse func([]byte) error) error {
	switch {
	case a.response.StatusCode != http.StatusOK:
		return errStatus
	case a.odd != nil:
		return a.odd
	case a.response.Header.Get("Content-Type") != contentType:
		return fmt.Errorf("%w: its Content-Type", errStrange)
	case a.response.Header.Get("Content-Encoding") != "":
		return fmt.Errorf("%w: its Content-Encoding", errStrange)
	}
	return parse(a.body)
}

// handOver gives a call to the SDK: with the answer, with the error where there is no answer, or untouched. The answer
// is a copy: its buffer goes to the next call.
func (c *Client) handOver(a answer, err error) error {
	r := a.response
	switch {
	case r == nil:
		// As net/http reports it: the SDK looks for this type.
		return &Handover{reason: err, failure: &url.Error{Op: "Post", URL: c.signer.endpoint.String(), Err: err}}
	case r.StatusCode >= 300 && r.StatusCode < 400:
		// A redirect has done nothing. Whether to follow is for the SDK's HTTP client.
		c.rest()
		return &Handover{reason: err}
	case errors.Is(err, errStrange) || skewed(r):
		// The next answer would be no different, and each would be parsed twice, or asked for twice.
		c.rest()
	}
	return &Handover{reason: err, response: r, body: bytes.Clone(a.body), cut: a.cut}
}

func (c *Client) rest() { c.restUntil.Store(time.Now().Add(restTime).UnixNano()) }

// skewed reports a refusal by a server whose clock is far from ours.
func skewed(r *http.Response) bool {
	if r.StatusCode == http.StatusOK {
		return false
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	return err == nil && time.Since(date).Abs() > maxSkew
}
