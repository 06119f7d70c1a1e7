package source

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"cloakroom/etl"
)

// SliceSource is a source of messages that are at hand. It remembers which were committed.
type SliceSource struct {
	mu        sync.Mutex
	messages  []*etl.Message
	handed    bool // over
	committed map[*etl.Message]bool
}

// NewSlice makes a source of messages.
func NewSlice(messages []*etl.Message) *SliceSource {
	return &SliceSource{messages: messages, committed: map[*etl.Message]bool{}}
}

// FromLambda makes a source of what an SQS event source mapping called a Lambda function with. A
// message carries the attribute that the route names. Its Handle is its id as SQS gave it, a string: the
// identifier of a failed item.
func FromLambda(event events.SQSEvent, route etl.Route) *SliceSource {
	messages := make([]*etl.Message, len(event.Records))
	for i := range event.Records {
		r := &event.Records[i]
		receives, err := strconv.Atoi(r.Attributes["ApproximateReceiveCount"])
		if err != nil {
			receives = 1
		}
		sent, dayOnly := dayOf(time.Now()), true
		if millis, err := strconv.ParseInt(r.Attributes["SentTimestamp"], 10, 64); err == nil {
			sent, dayOnly = time.UnixMilli(millis), false
		}
		messages[i] = &etl.Message{
			ID: etl.MessageID(r.MessageId), Sent: sent, DayOnly: dayOnly, Body: []byte(r.Body), Receives: receives,
			Handle: r.MessageId,
		}
		if text := r.MessageAttributes[route.Attribute].StringValue; text != nil {
			messages[i].Attribute = *text
		}
	}
	return NewSlice(messages)
}

// Receive hands over all messages, and then io.EOF.
func (s *SliceSource) Receive(context.Context) ([]*etl.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handed {
		return nil, io.EOF
	}
	s.handed = true
	return s.messages, nil
}

// Committed implements etl.Committer.
func (s *SliceSource) Committed(messages []*etl.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		s.committed[m] = true
	}
}

// Uncommitted are the messages that are neither rows nor rejections.
func (s *SliceSource) Uncommitted() []*etl.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []*etl.Message
	for _, m := range s.messages {
		if !s.committed[m] {
			left = append(left, m)
		}
	}
	return left
}
