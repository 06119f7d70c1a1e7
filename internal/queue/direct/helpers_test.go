package direct_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"

	"cloakroom/internal/queue/direct"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	queueURL = "https://sqs.us-east-1.amazonaws.com/000000000000/logins"
	secret   = "a secret of sixteen and more"
	token    = "a-session-token/+=="
)

// options are of an SDK client whose retries do not wait, at an endpoint of the test's own.
func options(t testing.TB, endpoint string, set func(*sqs.Options)) sqs.Options {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	t.Cleanup(transport.CloseIdleConnections)
	client := sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("ingest", secret, token),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		}),
	}, func(o *sqs.Options) {
		if set != nil {
			set(o)
		}
	})
	return client.Options()
}

func open(t testing.TB, o sqs.Options) *direct.Client {
	t.Helper()
	c, err := direct.New(o, queueURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// server answers with bytes that a test chooses.
type server struct {
	url      string
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
	conns    int
}

// serve starts a server. answer writes to the connection what it likes for the n-th request, counted from 0, and
// reports whether the connection stays open.
func serve(t testing.TB, answer func(w net.Conn, n int) bool) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{url: "http://" + listener.Addr().String()}
	var running sync.WaitGroup
	var open sync.Map
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				for reader := bufio.NewReader(conn); ; {
					n, ok := s.read(reader)
					if !ok || !answer(conn, n) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		open.Range(func(conn, _ any) bool {
			conn.(net.Conn).Close()
			return true
		})
		running.Wait()
	})
	return s
}

func (s *server) read(r *bufio.Reader) (n int, ok bool) {
	request, err := http.ReadRequest(r)
	if err != nil {
		return 0, false
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
	s.bodies = append(s.bodies, string(body))
	return len(s.requests) - 1, true
}

func (s *server) counts() (requests, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests), s.conns
}

// plainAnswer is what SQS would send.
func plainAnswer(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const (
	oneMessage = `{"Messages":[{"MessageId":"m","ReceiptHandle":"h","MD5OfBody":"c4ca4238a0b923820dcc509a6f75849b","Body":"1"}]}`
	refusal    = `{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"gone"}`
)

func receiveInput() *sqs.ReceiveMessageInput {
	return &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(queueURL), MaxNumberOfMessages: 10, WaitTimeSeconds: 20, VisibilityTimeout: 30,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"SentTimestamp", "ApproximateReceiveCount"},
	}
}

// handedOver reports that a call is left to the SDK.
func handedOver(err error) bool {
	var over *direct.Handover
	return errors.As(err, &over)
}
