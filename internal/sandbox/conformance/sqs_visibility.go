package conformance

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func (q testQueue) changeVisibility(m types.Message, seconds int32) error {
	_, err := q.client.ChangeMessageVisibility(q,
		&sqs.ChangeMessageVisibilityInput{QueueUrl: q.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
	return err
}

var visibilityChecks = []check[*sqs.Client]{
	{"visibility timeout of the queue", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, map[string]string{"VisibilityTimeout": "1"})
		q.send("x")
		first := q.one(2, nil)
		q.none(0, "while in flight")
		second := q.one(5, nil)
		equal(t, *second.MessageId, *first.MessageId, "message id")
		if *second.ReceiptHandle == *first.ReceiptHandle {
			t.failf("the second receive gave the same handle")
		}
	}},
	{"visibility timeout of a receive", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		q.one(2, visibleFor(1))
		q.none(0, "while in flight")
		q.one(5, nil)
	}},
	{"visibility made longer", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, visibleFor(1))
		t.noError(q.changeVisibility(m, 60), "changing")
		q.none(2, "after the first timeout")
		q.delete(m)
	}},
	{"visibility made shorter wakes a long poll", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, visibleFor(600))
		t.noError(q.changeVisibility(m, 1), "changing")
		q.one(5, nil)
	}},
	{"visibility 0 gives a message back", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		t.noError(q.changeVisibility(q.one(2, nil), 0), "changing")
		q.one(2, nil)
	}},
	{"visibility batch", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := q.sendBatch(numbered(3))
		t.noError(err, "sending")
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: q.url}
		for _, m := range q.receiveN(3) {
			in.Entries = append(
				in.Entries,
				types.ChangeMessageVisibilityBatchRequestEntry{
					Id:                m.MessageId,
					ReceiptHandle:     m.ReceiptHandle,
					VisibilityTimeout: 0,
				},
			)
		}
		out, err := c.ChangeMessageVisibilityBatch(t, in)
		t.noError(err, "changing")
		equal(t, len(out.Successful), 3, "changed")
		q.receiveN(3)
	}},
	{"visibility of a message that is not in flight", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, nil)
		t.noError(q.changeVisibility(m, 0), "changing")
		wantError[*types.MessageNotInflight](t, q.changeVisibility(m, 10), "changing again")
	}},
	{"visibility of a deleted message", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, nil)
		q.delete(m)
		if err := q.changeVisibility(m, 10); err == nil {
			t.failf("changing: succeeded")
		}
	}},
	{"visibility out of range", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, nil)
		if err := q.changeVisibility(m, 43201); err == nil {
			t.failf("changing: succeeded")
		}
		in := &sqs.ReceiveMessageInput{QueueUrl: q.url, VisibilityTimeout: 43201}
		if _, err := c.ReceiveMessage(t, in); err == nil {
			t.failf("receiving: succeeded")
		}
	}},
}

var handleChecks = []check[*sqs.Client]{
	{"a bogus receipt handle", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.DeleteMessage(t, &sqs.DeleteMessageInput{QueueUrl: q.url, ReceiptHandle: aws.String("bogus")})
		wantError[*types.ReceiptHandleIsInvalid](t, err, "deleting")
		wantError[*types.ReceiptHandleIsInvalid](t,
			q.changeVisibility(types.Message{ReceiptHandle: aws.String("bogus")}, 1), "changing visibility")
	}},
	{"deleting twice", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, nil)
		q.delete(m)
		q.delete(m)
	}},
	{"deleting after the visibility timeout", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		m := q.one(2, visibleFor(1))
		time.Sleep(1500 * time.Millisecond)
		q.delete(m)
		q.none(0, "after the delete")
	}},
	{"deleting with the handle of an earlier receive", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		first := q.one(2, visibleFor(1))
		q.one(5, visibleFor(1))
		q.delete(first)
		q.one(5, nil)
	}},
}
