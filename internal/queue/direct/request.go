package direct

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	contentType = "application/x-amz-json-1.0"
	userAgent   = "cloakroom"
)

// signer writes requests: the same members, in the same order, as the SDK does. What comes from outside stands in a
// JSON string, as the queue's URL and the handles, or is checked, as the credentials: nothing can end a header early
// or add a member.
type signer struct {
	v4       *v4.Signer
	region   string
	endpoint *url.URL // scheme, host and the path /
	host     string
	queue    []byte                  // the queue's URL as JSON
	last     *atomic.Pointer[signed] // the last poll
}

// signed is a request and what it was made of.
type signed struct {
	operation, key, secret, token string
	second                        int64
	body, request                 []byte
}

func newSigner(o sqs.Options, endpoint *url.URL, queueURL string) (signer, error) {
	queue, err := jsontext.AppendQuote(nil, queueURL)
	if err != nil {
		return signer{}, errors.New("the queue's URL is not UTF-8")
	}
	s, ok := o.HTTPSignerV4.(*v4.Signer)
	if !ok {
		return signer{}, errors.New("a signer of its own")
	}
	return signer{
		v4: s, region: o.Region, endpoint: endpoint, host: endpoint.Host, queue: queue, last: &atomic.Pointer[signed]{},
	}, nil
}

// appendReceive appends the body of a receive.
func (s *signer) appendReceive(b []byte, wait, visibility time.Duration) []byte {
	// Nothing that is not needed: each attribute is parsed ten times a call.
	b = append(b, `{"MaxNumberOfMessages":10,"MessageSystemAttributeNames":`+
		`["SentTimestamp","ApproximateReceiveCount"],"QueueUrl":`...)
	b = append(b, s.queue...)
	number := func(name string, d time.Duration) {
		if n := int64(d / time.Second); n != 0 {
			b = strconv.AppendInt(append(b, name...), n, 10)
		}
	}
	number(`,"VisibilityTimeout":`, visibility)
	number(`,"WaitTimeSeconds":`, wait)
	return append(b, '}')
}

// appendDelete appends the body of a batch of deletes, whose entries are named by their index.
func (s *signer) appendDelete(b []byte, handles []string) (_ []byte, err error) {
	if len(handles) == 0 || len(handles) > MaxEntries {
		return b, fmt.Errorf("a batch of %d", len(handles))
	}
	b = append(b, `{"Entries":[`...)
	for i, handle := range handles {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"Id":"`...)
		b = append(b, '0'+byte(i))
		b = append(b, `","ReceiptHandle":`...)
		if b, err = jsontext.AppendQuote(b, handle); err != nil {
			return b, errors.New("a receipt handle is not UTF-8")
		}
		b = append(b, '}')
	}
	b = append(b, `],"QueueUrl":`...)
	return append(append(b, s.queue...), '}'), nil
}

// request returns the bytes to send, which are good until room is used again. A poll that differs in nothing from the
// last one, the second included, is the last one's bytes: a signature holds its second and no nonce, and AWS takes it
// for five minutes.
func (s *signer) request(
	ctx context.Context, room *scratch, operation string, c aws.Credentials, now time.Time,
) ([]byte, error) {
	if last := s.last.Load(); last != nil && last.matches(operation, c, now, room.body) {
		return last.request, nil
	}
	// net/http refuses such values. Here nothing else would: they would end a header.
	if !plain(c.AccessKeyID) || !plain(c.SessionToken) || c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return nil, errors.New("the credentials cannot stand in a header")
	}
	if err := s.sign(ctx, room, operation, c, now); err != nil {
		return nil, err
	}
	room.request = s.appendRequest(room.request[:0], &room.signing, room.body)
	if operation == opReceive {
		s.last.Store(&signed{
			operation: operation, key: c.AccessKeyID, secret: c.SecretAccessKey, token: c.SessionToken,
			second: now.Unix(), body: bytes.Clone(room.body), request: bytes.Clone(room.request),
		})
	}
	return room.request, nil
}

func (l *signed) matches(operation string, c aws.Credentials, now time.Time, body []byte) bool {
	return l.second == now.Unix() && l.operation == operation && l.key == c.AccessKeyID &&
		l.secret == c.SecretAccessKey && l.token == c.SessionToken && bytes.Equal(l.body, body)
}

// signedHeaders are the headers of a request, but for Host and Content-Length, in the order in which they are sent.
var signedHeaders = [...]string{
	"Content-Type", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Target", "X-Amzn-Query-Mode", "Authorization",
}

// sign sets the headers of room.signing. X-Amzn-Query-Mode makes SQS name errors as its older protocol did, which is
// what the SDK's error codes are.
func (s *signer) sign(ctx context.Context, room *scratch, operation string, c aws.Credentials, now time.Time) error {
	target := *s.endpoint // the signer writes to it
	r := &room.signing
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Method, r.URL, r.Host, r.ContentLength = http.MethodPost, &target, s.host, int64(len(room.body))
	set := func(name, value string) { r.Header[name] = append(r.Header[name][:0], value) }
	set("Content-Type", contentType)
	set("X-Amz-Target", "AmazonSQS."+operation)
	set("X-Amzn-Query-Mode", "true")
	if c.SessionToken == "" {
		delete(r.Header, "X-Amz-Security-Token")
	}
	sum := sha256.Sum256(room.body)
	if err := s.v4.SignHTTP(ctx, c, r, hex.EncodeToString(sum[:]), "sqs", s.region, now); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	return nil
}

func (s *signer) appendRequest(b []byte, r *http.Request, body []byte) []byte {
	b = append(b, "POST / HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\nUser-Agent: "+userAgent+"\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	for _, name := range signedHeaders {
		if values := r.Header[name]; len(values) > 0 {
			b = append(append(append(b, "\r\n"...), name...), ": "...)
			b = append(b, values[0]...)
		}
	}
	return append(append(b, "\r\n\r\n"...), body...)
}

// plain reports that text is visible ASCII.
func plain(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
