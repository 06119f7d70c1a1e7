package conformance

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

var queueChecks = []check[*sqs.Client]{
	{"creating a queue twice", func(t *trial, c *sqs.Client) {
		name := aws.String(randomName())
		first, err := c.CreateQueue(t, &sqs.CreateQueueInput{QueueName: name, Attributes: map[string]string{"VisibilityTimeout": "7"}})
		t.noError(err, "creating")
		t.later(func() { _, _ = c.DeleteQueue(t, &sqs.DeleteQueueInput{QueueUrl: first.QueueUrl}) })
		again, err := c.CreateQueue(t, &sqs.CreateQueueInput{QueueName: name, Attributes: map[string]string{"VisibilityTimeout": "7"}})
		t.noError(err, "creating again")
		equal(t, *again.QueueUrl, *first.QueueUrl, "URL")
		_, err = c.CreateQueue(t, &sqs.CreateQueueInput{QueueName: name, Attributes: map[string]string{"VisibilityTimeout": "8"}})
		wantError[*types.QueueNameExists](t, err, "creating with another attribute")
	}},
	{"finding a queue", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		name := (*q.url)[strings.LastIndex(*q.url, "/")+1:]
		got, err := c.GetQueueUrl(t, &sqs.GetQueueUrlInput{QueueName: &name})
		t.noError(err, "getting the URL")
		equal(t, *got.QueueUrl, *q.url, "URL")
		list, err := c.ListQueues(t, &sqs.ListQueuesInput{QueueNamePrefix: &name})
		t.noError(err, "listing")
		if !slices.Equal(list.QueueUrls, []string{*q.url}) {
			t.failf("listing: got %v, want %v alone", list.QueueUrls, *q.url)
		}
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
		all, err := c.GetQueueAttributes(t, &sqs.GetQueueAttributesInput{QueueUrl: q.url, AttributeNames: []types.QueueAttributeName{"All"}})
		t.noError(err, "getting attributes")
		for name, want := range map[string]string{"VisibilityTimeout": "30", "DelaySeconds": "0", "MessageRetentionPeriod": "345600", "ReceiveMessageWaitTimeSeconds": "0"} {
			equal(t, all.Attributes[name], want, name)
		}
		if arn := all.Attributes["QueueArn"]; !strings.HasPrefix(arn, "arn:aws:sqs:") {
			t.failf("QueueArn: got %q", arn)
		}
		_, err = c.SetQueueAttributes(t, &sqs.SetQueueAttributesInput{QueueUrl: q.url, Attributes: map[string]string{"VisibilityTimeout": "43200"}})
		t.noError(err, "setting an attribute")
		equal(t, q.attribute("VisibilityTimeout"), "43200", "VisibilityTimeout")
	}},
	{"attributes out of range", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.SetQueueAttributes(t, &sqs.SetQueueAttributesInput{QueueUrl: q.url, Attributes: map[string]string{"VisibilityTimeout": "43201"}})
		wantError[*types.InvalidAttributeValue](t, err, "a visibility timeout over 12 hours")
		_, err = c.SetQueueAttributes(t, &sqs.SetQueueAttributesInput{QueueUrl: q.url, Attributes: map[string]string{"NoSuchThing": "1"}})
		wantError[*types.InvalidAttributeName](t, err, "an unknown attribute")
	}},
	{"counts", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.holds("0", "0", "0")
		q.send("a")
		q.send("b")
		_, err := c.SendMessage(t, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("c"), DelaySeconds: 60})
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
