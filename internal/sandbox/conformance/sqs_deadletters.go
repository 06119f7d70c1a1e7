package conformance

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// withDeadLetters makes a queue whose messages go to the second queue after two receives.
func withDeadLetters(t *trial, c *sqs.Client) (source, dead testQueue) {
	dead = newQueue(t, c, nil)
	source = newQueue(t, c, map[string]string{
		"RedrivePolicy": `{"deadLetterTargetArn":"` + dead.attribute(types.QueueAttributeNameQueueArn) + `","maxReceiveCount":"2"}`,
	})
	return source, dead
}

// kill receives a message as often as its queue allows, and once more.
func (q testQueue) kill() types.Message {
	first := q.one(2, nil)
	q.noError(q.changeVisibility(first, 0), "giving back")
	q.noError(q.changeVisibility(q.one(2, nil), 0), "giving back")
	q.none(0, "a dead letter")
	return first
}

var deadLetterChecks = []check[*sqs.Client]{
	{"a dead letter keeps its id and its time", func(t *trial, c *sqs.Client) {
		source, dead := withDeadLetters(t, c)
		source.send("x")
		was := source.kill()
		is := dead.one(5, nil)
		equal(t, *is.MessageId, *was.MessageId, "message id")
		equal(t, is.Attributes["SentTimestamp"], was.Attributes["SentTimestamp"], "SentTimestamp")
		equal(t, *is.Body, "x", "body")
	}},
	{"a dead letter tells where it is from", func(t *trial, c *sqs.Client) {
		source, dead := withDeadLetters(t, c)
		source.send("x")
		source.kill()
		equal(t, dead.one(5, nil).Attributes["DeadLetterQueueSourceArn"], source.attribute(types.QueueAttributeNameQueueArn), "source")
	}},
	{"a dead letter moved back is a new message", func(t *trial, c *sqs.Client) {
		source, dead := withDeadLetters(t, c)
		source.send("x")
		was := source.kill()
		dead.holds("1", "0", "0")
		arn := dead.attribute(types.QueueAttributeNameQueueArn)
		_, err := c.StartMessageMoveTask(t, &sqs.StartMessageMoveTaskInput{SourceArn: &arn})
		t.noError(err, "starting a move task")
		is := source.one(10, nil)
		equal(t, *is.Body, "x", "body")
		equal(t, is.Attributes["ApproximateReceiveCount"], "1", "receive count")
		if *is.MessageId == *was.MessageId {
			t.failf("it kept its message id")
		}
		list, err := c.ListMessageMoveTasks(t, &sqs.ListMessageMoveTasksInput{SourceArn: &arn})
		t.noError(err, "listing move tasks")
		equal(t, len(list.Results), 1, "move tasks")
	}},
	{"a move from a queue that is no dead-letter queue", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.StartMessageMoveTask(t, &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(q.attribute(types.QueueAttributeNameQueueArn))})
		if err == nil {
			t.failf("starting: succeeded")
		}
	}},
	{"a redrive policy that leads nowhere", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.SetQueueAttributes(t, &sqs.SetQueueAttributesInput{QueueUrl: q.url, Attributes: map[string]string{
			"RedrivePolicy": `{"deadLetterTargetArn":"` + q.attribute(types.QueueAttributeNameQueueArn) + `-missing","maxReceiveCount":"2"}`,
		}})
		if err == nil {
			t.failf("setting: succeeded")
		}
	}},
}
