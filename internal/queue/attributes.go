package queue

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Counts are SQS's approximate counts of a queue's messages.
type Counts struct {
	Visible, Invisible, Delayed int
}

// Empty reports that nothing is left, visible or not.
func (c Counts) Empty() bool { return c == Counts{} }

// Attributes are what the queue says of itself.
type Attributes struct {
	Counts
	Visibility      time.Duration // the queue's own default, which Config.Visibility overrides
	DeadLetterARN   string        // empty: no dead-letter queue
	MaxReceiveCount int           // deliveries before a message goes there; 0 without one
}

// Attributes asks the queue.
func (q *Queue) Attributes(ctx context.Context) (Attributes, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := time.Now()
	out, err := q.receiver.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &q.config.URL,
		AttributeNames: []types.QueueAttributeName{
			types.QueueAttributeNameApproximateNumberOfMessages,
			types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
			types.QueueAttributeNameApproximateNumberOfMessagesDelayed, types.QueueAttributeNameVisibilityTimeout,
			types.QueueAttributeNameRedrivePolicy,
		},
	})
	q.observe("GetQueueAttributes", err, began)
	if err != nil {
		return Attributes{}, explain("reading the queue's attributes", err)
	}
	get := func(name types.QueueAttributeName) string { return out.Attributes[string(name)] }
	a := Attributes{
		Counts: Counts{
			Visible:   atoi(get(types.QueueAttributeNameApproximateNumberOfMessages)),
			Invisible: atoi(get(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)),
			Delayed:   atoi(get(types.QueueAttributeNameApproximateNumberOfMessagesDelayed)),
		},
		Visibility: time.Duration(atoi(get(types.QueueAttributeNameVisibilityTimeout))) * time.Second,
	}
	var redrive struct {
		Target string      `json:"deadLetterTargetArn"`
		Max    json.Number `json:"maxReceiveCount"` // a number, or a number in quotes
	}
	if text := get(types.QueueAttributeNameRedrivePolicy); text != "" && json.Unmarshal([]byte(text), &redrive) == nil {
		a.DeadLetterARN, a.MaxReceiveCount = redrive.Target, atoi(redrive.Max.String())
	}
	return a, nil
}
