package conformance

import (
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// withDeadLetters makes a queue whose messages go to the second queue after two receives.
func withDeadLetters(t *trial, c *sqs.Client) (source, dead testQueue) {
	dead = newQueue(t, c, nil)
	source = newQueue(t, c, map[string]string{
		"RedrivePolicy": `{"deadLetterTargetArn":"` + dead.attribute(
			types.QueueAttributeNameQueueArn) + `","maxReceiveCount":"2"}`,
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
		equal(t, dead.one(5, nil).Attributes["DeadLetterQueueSourceArn"],
			source.attribute(types.QueueAttributeNameQueueArn), "source")
	}},
	{"a redrive policy that leads nowhere", func(t *trial, c *sqs.Client) {
		arn := newQueue(t, c, nil).attribute(types.QueueAttributeNameQueueArn)
		if tryQueue(t, c, "RedrivePolicy", `{"deadLetterTargetArn":"`+arn+`-missing","maxReceiveCount":"2"}`) == nil {
			t.failf("creating a queue with it: succeeded")
		}
	}},
}
