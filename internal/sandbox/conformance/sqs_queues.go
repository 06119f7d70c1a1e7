package conformance

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// tryQueue makes a queue with one attribute, and takes it away where it was made.
func tryQueue(t *trial, c *sqs.Client, attribute, value string) error {
	out, err := c.CreateQueue(t,
		&sqs.CreateQueueInput{QueueName: aws.String(randomName()), Attributes: map[string]string{attribute: value}})
	if err == nil {
		t.later(func() { _, _ = c.DeleteQueue(t, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl}) })
	}
	return err
}

var queueChecks = []check[*sqs.Client]{
	{"creating a queue twice", func(t *trial, c *sqs.Client) {
		name := aws.String(randomName())
		first, err := c.CreateQueue(t,
			&sqs.CreateQueueInput{QueueName: name, Attributes: map[string]string{"VisibilityTimeout": "7"}})
		t.noError(err, "creating")
		t.later(func() { _, _ = c.DeleteQueue(t, &sqs.DeleteQueueInput{QueueUrl: first.QueueUrl}) })
		again, err := c.CreateQueue(t,
			&sqs.CreateQueueInput{QueueName: name, Attributes: map[string]string{"VisibilityTimeout": "7"}})
		t.noError(err, "creating again")
		equal(t, *again.QueueUrl, *first.QueueUrl, "URL")
		_, err = c.CreateQueue(t,
			&sqs.CreateQueueInput{QueueName: name, Attributes: map[string]string{"VisibilityTimeout": "8"}})
		wantError[*types.QueueNameExists](t, err, "creating with another attribute")
	}},
	{"finding a queue", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		name := (*q.url)[strings.LastIndex(*q.url, "/")+1:]
		got, err := c.GetQueueUrl(t, &sqs.GetQueueUrlInput{QueueName: &name})
		t.noError(err, "getting the URL")
		equal(t, *got.QueueUrl, *q.url, "URL")
	}},
	{"a queue that does not exist", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.DeleteQueue(t, &sqs.DeleteQueueInput{QueueUrl: q.url})
		t.noError(err, "deleting the queue")
		_, err = c.ReceiveMessage(t, &sqs.ReceiveMessageInput{QueueUrl: q.url})
		wantError[*types.QueueDoesNotExist](t, err, "receiving")
		_, err = c.SendMessage(t, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("x")})
		wantError[*types.QueueDoesNotExist](t, err, "sending")
		_, err = c.GetQueueAttributes(t, &sqs.GetQueueAttributesInput{QueueUrl: q.url})
		wantError[*types.QueueDoesNotExist](t, err, "getting attributes")
		_, err = c.GetQueueUrl(t, &sqs.GetQueueUrlInput{QueueName: aws.String(randomName())})
		wantError[*types.QueueDoesNotExist](t, err, "getting the URL")
	}},
	{"attributes of a queue", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		all, err := c.GetQueueAttributes(t,
			&sqs.GetQueueAttributesInput{QueueUrl: q.url, AttributeNames: []types.QueueAttributeName{"All"}})
		t.noError(err, "getting attributes")
		for name, want := range map[string]string{
			"VisibilityTimeout": "30", "DelaySeconds": "0", "MessageRetentionPeriod": "345600",
			"ReceiveMessageWaitTimeSeconds": "0",
		} {
			equal(t, all.Attributes[name], want, name)
		}
		if arn := all.Attributes["QueueArn"]; !strings.HasPrefix(arn, "arn:aws:sqs:") {
			t.failf("QueueArn: got %q", arn)
		}
		q = newQueue(t, c, map[string]string{"VisibilityTimeout": "43200"})
		equal(t, q.attribute("VisibilityTimeout"), "43200", "VisibilityTimeout")
	}},
	{"attributes out of range", func(t *trial, c *sqs.Client) {
		wantError[*types.InvalidAttributeValue](t, tryQueue(t, c, "VisibilityTimeout", "43201"),
			"a visibility timeout over 12 hours")
		wantError[*types.InvalidAttributeName](t, tryQueue(t, c, "NoSuchThing", "1"), "an unknown attribute")
	}},
	{"counts", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.holds("0", "0", "0")
		q.send("a")
		q.send("b")
		_, err := c.SendMessage(t,
			&sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("c"), DelaySeconds: 60})
		t.noError(err, "sending")
		q.one(2, func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 1 })
		q.holds("1", "1", "1")
	}},
	{"purge", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("a")
		q.send("b")
		_, err := c.PurgeQueue(t, &sqs.PurgeQueueInput{QueueUrl: q.url})
		t.noError(err, "purging")
		q.none(0, "after a purge")
	}},
	{"purging twice", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.PurgeQueue(t, &sqs.PurgeQueueInput{QueueUrl: q.url})
		t.noError(err, "purging")
		_, err = c.PurgeQueue(t, &sqs.PurgeQueueInput{QueueUrl: q.url})
		wantError[*types.PurgeQueueInProgress](t, err, "purging at once again")
	}},
}
