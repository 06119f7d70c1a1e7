package sqsserver_test

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"

	"cloakroom/internal/sandbox/sqsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "a secret of 16 and more"

func start(t *testing.T, config sqsserver.Config) *sqsserver.Server {
	t.Helper()
	srv := sqsserver.New(config)
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// bench is a server with one queue and a real client for it.
type bench struct {
	*testing.T
	srv    *sqsserver.Server
	client *sqs.Client
	url    string
}

const queueName = "login-queue"

func newBench(t *testing.T, config sqsserver.Config, attributes map[string]string) *bench {
	t.Helper()
	t.Parallel() // most of a test is the SDK waiting to try again
	return newBenchOn(t, start(t, config), attributes)
}

// newBenchWithDeadLetters is a bench whose queue sends a message that was received once to the queue dead.
func newBenchWithDeadLetters(t *testing.T) (b *bench, dead string) {
	t.Helper()
	t.Parallel()
	srv := start(t, sqsserver.Config{})
	dead, err := srv.CreateQueue("dead", nil)
	if err != nil {
		t.Fatal(err)
	}
	return newBenchOn(t, srv, map[string]string{
		"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":1}`,
	}), dead
}

func newBenchOn(t *testing.T, srv *sqsserver.Server, attributes map[string]string) *bench {
	t.Helper()
	url, err := srv.CreateQueue(queueName, attributes)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, srv, newClient(t, srv, "ingest", testSecret), url}
}

func newClient(t *testing.T, srv *sqsserver.Server, accessKey, secret string) *sqs.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	url := srv.URL()
	return sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: &url, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secret, ""),
	})
}

func (b *bench) put(bodies ...string) {
	b.Helper()
	for _, body := range bodies {
		if err := b.srv.Put(queueName, sqsserver.Message{Body: body}); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bench) tryReceive(wait int32) ([]types.Message, error) {
	out, err := b.client.ReceiveMessage(b.Context(),
		&sqs.ReceiveMessageInput{QueueUrl: &b.url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

func (b *bench) receive(want int) []types.Message {
	b.Helper()
	got, err := b.tryReceive(0)
	if err != nil {
		b.Fatal(err)
	}
	if len(got) != want {
		b.Fatalf("received %d messages, want %d", len(got), want)
	}
	return got
}

func (b *bench) delete(m types.Message) {
	b.Helper()
	if _, err := b.client.DeleteMessage(b.Context(), &sqs.DeleteMessageInput{QueueUrl: &b.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) changeVisibility(m types.Message, seconds int32) error {
	_, err := b.client.ChangeMessageVisibility(b.Context(),
		&sqs.ChangeMessageVisibilityInput{QueueUrl: &b.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
	return err
}

func (b *bench) counts(want sqsserver.Counts) {
	b.Helper()
	if got := b.srv.Counts(queueName); got != want {
		b.Errorf("counts are %+v, want %+v", got, want)
	}
}
