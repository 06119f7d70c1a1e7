// Package plainsqs is the plainest loop that empties an SQS queue with the AWS SDK: receive ten, delete ten, again. It
// looks at no message. Benchmarks hold ingest against it: what ingest does besides should cost next to nothing.
package plainsqs

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"
)

// Client reads a queue. Region, credentials and endpoint are the SDK's own configuration.
type Client struct {
	url string
	sqs *sqs.Client
}

// Open prepares a client. Its pool keeps a connection for each worker, as ingest's does: with the SDK's defaults a
// concurrent loop opens connections over and over.
func Open(ctx context.Context, url string) (*Client, error) {
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
	})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(transport))
	if err != nil {
		return nil, fmt.Errorf("opening the queue: %w", err)
	}
	return &Client{url: url, sqs: sqs.NewFromConfig(cfg)}, nil
}

// Drain receives and deletes n messages with a given number of workers at once.
func (c *Client) Drain(ctx context.Context, n, workers int) error {
	var deleted atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			for deleted.Load() < int64(n) {
				got, err := c.step(ctx)
				if err != nil {
					return err
				}
				deleted.Add(int64(got))
			}
			return nil
		})
	}
	return group.Wait()
}

// step receives and deletes up to ten messages.
func (c *Client) step(ctx context.Context) (int, error) {
	out, err := c.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &c.url, MaxNumberOfMessages: 10})
	if err != nil || len(out.Messages) == 0 {
		return 0, err
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(out.Messages))
	for i := range out.Messages {
		entries[i] = types.DeleteMessageBatchRequestEntry{
			Id:            aws.String(strconv.Itoa(i)),
			ReceiptHandle: out.Messages[i].ReceiptHandle,
		}
	}
	deleted, err := c.sqs.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &c.url, Entries: entries})
	if err != nil {
		return 0, err
	}
	if len(deleted.Failed) > 0 {
		return 0, fmt.Errorf("deleting messages: %d were refused", len(deleted.Failed))
	}
	return len(entries), nil
}

// TakeOne receives one message and deletes it, as a loop without batches does. It returns the body, empty where there
// was none.
func (c *Client) TakeOne(ctx context.Context) (string, error) {
	out, err := c.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &c.url})
	if err != nil || len(out.Messages) == 0 {
		return "", err
	}
	m := &out.Messages[0]
	_, err = c.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &c.url, ReceiptHandle: m.ReceiptHandle})
	return aws.ToString(m.Body), err
}
