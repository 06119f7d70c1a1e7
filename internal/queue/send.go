package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Send puts bodies on the queue, 10 a call. It returns the message ids of those that were taken, in
// order; an error names the first that was not.
func (q *Queue) Send(ctx context.Context, bodies []string) ([]string, error) {
	var sent []string
	for len(bodies) > 0 {
		n := min(maxBatch, len(bodies))
		got, err := q.sendBatch(ctx, bodies[:n])
		sent = append(sent, got...)
		if err != nil {
			return sent, fmt.Errorf("sending message %d: %w", len(sent)+1, err)
		}
		bodies = bodies[n:]
	}
	return sent, nil
}

func (q *Queue) sendBatch(ctx context.Context, bodies []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entries := make([]types.SendMessageBatchRequestEntry, len(bodies))
	for i := range bodies {
		entries[i] = types.SendMessageBatchRequestEntry{Id: &ids[i], MessageBody: &bodies[i]}
	}
	began := time.Now()
	out, err := q.deleter.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &q.config.URL, Entries: entries})
	q.observe("SendMessageBatch", err, began)
	if err != nil {
		return nil, explain("sending messages", err)
	}
	taken := make([]string, len(bodies))
	for _, s := range out.Successful {
		if i, ok := indexOf(s.Id, len(bodies)); ok {
			taken[i] = aws.ToString(s.MessageId)
		}
	}
	for i, id := range taken {
		if id == "" {
			code := "NoAnswer"
			for _, f := range out.Failed {
				if at, ok := indexOf(f.Id, len(bodies)); ok && at == i {
					code = aws.ToString(f.Code)
				}
			}
			return taken[:i], fmt.Errorf("the queue refused it: %s", code)
		}
	}
	return taken, nil
}
