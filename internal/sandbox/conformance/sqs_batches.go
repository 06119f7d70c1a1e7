package conformance

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func (q testQueue) sendBatch(ids, bodies []string) (*sqs.SendMessageBatchOutput, error) {
	in := &sqs.SendMessageBatchInput{QueueUrl: q.url, Entries: []types.SendMessageBatchRequestEntry{}}
	for i, id := range ids {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &bodies[i]})
	}
	return q.client.SendMessageBatch(q, in)
}

func numbered(n int) (ids, bodies []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("id_", i))
		bodies = append(bodies, fmt.Sprint("body ", i))
	}
	return ids, bodies
}

var batchChecks = []check[*sqs.Client]{
	{"batches of ten", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		ids, bodies := numbered(10)
		sent, err := q.sendBatch(ids, bodies)
		t.noError(err, "sending")
		equal(t, len(sent.Successful), 10, "sent")
		want := map[string]string{}
		for _, s := range sent.Successful {
			want[*s.MessageId] = strings.Replace(*s.Id, "id_", "body ", 1)
		}
		del := &sqs.DeleteMessageBatchInput{QueueUrl: q.url}
		for _, m := range q.receiveN(10) {
			equal(t, *m.Body, want[*m.MessageId], "body")
			del.Entries = append(del.Entries,
				types.DeleteMessageBatchRequestEntry{Id: m.MessageId, ReceiptHandle: m.ReceiptHandle})
		}
		deleted, err := c.DeleteMessageBatch(t, del)
		t.noError(err, "deleting")
		equal(t, len(deleted.Successful), 10, "deleted")
		equal(t, len(deleted.Failed), 0, "not deleted")
		q.holds("0", "0", "0")
	}},
	{"an empty batch", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := q.sendBatch(nil, nil)
		wantError[*types.EmptyBatchRequest](t, err, "sending")
		_, err = c.DeleteMessageBatch(t,
			&sqs.DeleteMessageBatchInput{QueueUrl: q.url, Entries: []types.DeleteMessageBatchRequestEntry{}})
		wantError[*types.EmptyBatchRequest](t, err, "deleting")
	}},
	{"a batch of eleven", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := q.sendBatch(numbered(11))
		wantError[*types.TooManyEntriesInBatchRequest](t, err, "sending")
	}},
	{"a batch with an id twice", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := q.sendBatch([]string{"a", "a"}, []string{"x", "y"})
		wantError[*types.BatchEntryIdsNotDistinct](t, err, "sending")
	}},
	{"a batch with a bad id", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		for _, id := range []string{"a b", "ä", strings.Repeat("x", 81)} {
			_, err := q.sendBatch([]string{id}, []string{"x"})
			wantError[*types.InvalidBatchEntryId](t, err, "sending "+id)
		}
	}},
	{"a batch too large", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		half := strings.Repeat("x", maxMessageBytes/2+1)
		_, err := q.sendBatch([]string{"a", "b"}, []string{half, half})
		wantError[*types.BatchRequestTooLong](t, err, "sending")
	}},
	{"a batch with one bad entry", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		out, err := q.sendBatch([]string{"good", "bad"}, []string{"x", "\x00"})
		t.noError(err, "sending")
		equal(t, len(out.Successful), 1, "sent")
		equal(t, len(out.Failed), 1, "failed")
		equal(t, *out.Failed[0].Id, "bad", "the id that failed")
		equal(t, out.Failed[0].SenderFault, true, "the sender's fault")
	}},
	{"a delete batch with a bogus handle", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, nil)
		out, err := c.DeleteMessageBatch(
			t,
			&sqs.DeleteMessageBatchInput{QueueUrl: q.url, Entries: []types.DeleteMessageBatchRequestEntry{
				{Id: aws.String("bogus"), ReceiptHandle: aws.String("bogus")},
				{Id: aws.String("good"), ReceiptHandle: m.ReceiptHandle},
			}},
		)
		t.noError(err, "deleting")
		equal(t, len(out.Failed), 1, "failed")
		equal(t, *out.Failed[0].Id, "bogus", "the id that failed")
		equal(t, *out.Failed[0].Code, "ReceiptHandleIsInvalid", "its code")
		q.holds("0", "0", "0")
	}},
}

// receiveN receives until it has n messages: a receive may return fewer than there are.
func (q testQueue) receiveN(n int) []types.Message {
	var got []types.Message
	for len(got) < n {
		more := q.receive(2, nil)
		if len(more) == 0 {
			q.failf("receiving: got %d messages, want %d", len(got), n)
		}
		got = append(got, more...)
	}
	return got
}
