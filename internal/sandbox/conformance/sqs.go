package conformance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQS runs every check of an SQS through client.
func SQS(t *testing.T, client *sqs.Client, gaps Gaps) {
	var checks []check[*sqs.Client]
	for _, part := range [][]check[*sqs.Client]{
		queueChecks, messageChecks, batchChecks, visibilityChecks, handleChecks, pollChecks, deadLetterChecks,
	} {
		checks = append(checks, part...)
	}
	runAll(t, checks, client, gaps)
}

// testQueue is a queue of a check's own.
type testQueue struct {
	*trial
	client *sqs.Client
	url    *string
}

func randomName() string { return fmt.Sprintf("conformance-%016x", rand.Uint64()) }

func newQueue(t *trial, client *sqs.Client, attributes map[string]string) testQueue {
	out, err := client.CreateQueue(t,
		&sqs.CreateQueueInput{QueueName: aws.String(randomName()), Attributes: attributes})
	t.noError(err, "creating a queue")
	t.later(func() { _, _ = client.DeleteQueue(t, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl}) })
	return testQueue{t, client, out.QueueUrl}
}

func (q testQueue) send(body string) *sqs.SendMessageOutput {
	out, err := q.client.SendMessage(q, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: &body})
	q.noError(err, "sending")
	return out
}

// receive asks for ten messages with all system attributes, waiting up to wait seconds; set adjusts the request.
func (q testQueue) receive(wait int32, set func(*sqs.ReceiveMessageInput)) []types.Message {
	in := &sqs.ReceiveMessageInput{
		QueueUrl: q.url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}
	if set != nil {
		set(in)
	}
	out, err := q.client.ReceiveMessage(q, in)
	q.noError(err, "receiving")
	return out.Messages
}

// one receives the one message that must be there.
func (q testQueue) one(wait int32, set func(*sqs.ReceiveMessageInput)) types.Message {
	got := q.receive(wait, set)
	if len(got) != 1 {
		q.failf("receiving: got %d messages, want 1", len(got))
	}
	return got[0]
}

func (q testQueue) none(wait int32, why string) {
	if got := q.receive(wait, nil); len(got) != 0 {
		q.failf("receiving %s: got %d messages, want none", why, len(got))
	}
}

func visibleFor(seconds int32) func(*sqs.ReceiveMessageInput) {
	return func(in *sqs.ReceiveMessageInput) { in.VisibilityTimeout = seconds }
}

func (q testQueue) delete(m types.Message) {
	_, err := q.client.DeleteMessage(q, &sqs.DeleteMessageInput{QueueUrl: q.url, ReceiptHandle: m.ReceiptHandle})
	q.noError(err, "deleting")
}

func (q testQueue) attribute(name types.QueueAttributeName) string {
	out, err := q.client.GetQueueAttributes(q,
		&sqs.GetQueueAttributesInput{QueueUrl: q.url, AttributeNames: []types.QueueAttributeName{name}})
	q.noError(err, "getting attributes")
	return out.Attributes[string(name)]
}

// holds fails the check unless the queue soon counts this many visible, not visible and delayed messages. AWS calls its
// counts approximate: they follow within a minute.
func (q testQueue) holds(visible, notVisible, delayed string) {
	want := [3]string{visible, notVisible, delayed}
	q.soon(10*time.Second, fmt.Sprint("counts of ", want), func() bool {
		return want == [3]string{
			q.attribute(types.QueueAttributeNameApproximateNumberOfMessages),
			q.attribute(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible),
			q.attribute(types.QueueAttributeNameApproximateNumberOfMessagesDelayed),
		}
	})
}
