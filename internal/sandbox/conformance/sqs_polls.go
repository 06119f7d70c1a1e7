package conformance

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

var pollChecks = []check[*sqs.Client]{
	{"a long poll wakes when a message comes", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		time.AfterFunc(500*time.Millisecond, func() {
			_, _ = c.SendMessage(t, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("x")})
		})
		start := time.Now()
		q.one(20, nil)
		if took := time.Since(start); took > 5*time.Second {
			t.failf("woke after %v", took)
		}
	}},
	{"a long poll comes back empty when its time is over", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		start := time.Now()
		q.none(1, "from an empty queue")
		if took := time.Since(start); took < 900*time.Millisecond || took > 5*time.Second {
			t.failf("came back after %v, want 1s", took)
		}
	}},
	{"a long poll by the queue's default", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, map[string]string{"ReceiveMessageWaitTimeSeconds": "1"})
		start := time.Now()
		_, err := c.ReceiveMessage(t, &sqs.ReceiveMessageInput{QueueUrl: q.url})
		t.noError(err, "receiving")
		if took := time.Since(start); took < 900*time.Millisecond {
			t.failf("came back after %v, want 1s", took)
		}
	}},
	{"a long poll that the client gives up takes no message", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		ctx, cancel := context.WithTimeout(t, 300*time.Millisecond)
		defer cancel()
		if _, err := c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: q.url, WaitTimeSeconds: 20}); err == nil {
			t.failf("receiving: succeeded from an empty queue")
		}
		time.Sleep(300 * time.Millisecond) // until the server has noticed
		q.send("x")
		q.one(2, nil)
	}},
	{"a receive out of range", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		for _, in := range []sqs.ReceiveMessageInput{
			{MaxNumberOfMessages: 11}, {MaxNumberOfMessages: -1}, {WaitTimeSeconds: 21},
		} {
			in.QueueUrl = q.url
			if _, err := c.ReceiveMessage(t, &in); err == nil {
				t.failf("receiving %d for %d s: succeeded", in.MaxNumberOfMessages, in.WaitTimeSeconds)
			}
		}
	}},
}
