package source_test

import (
	"io"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"cloakroom/etl"
	"cloakroom/etl/source"
)

// What Lambda hands over is what the queue would have handed over, and what was not committed can
// be handed back.
func TestFromLambda(t *testing.T) {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	record := func(id, sent, receives string) events.SQSMessage {
		return events.SQSMessage{MessageId: id, Body: "{}", Attributes: map[string]string{"SentTimestamp": sent, "ApproximateReceiveCount": receives}}
	}
	s := source.FromLambda(events.SQSEvent{Records: []events.SQSMessage{
		record("11111111-2222-4333-8444-555555555555", "1782950399999", "3"),
		record("no uuid", "", "many"),
		record("before the year 1", "-62167219200001", "1"),
	}}, etl.Route{})
	messages, err := s.Receive(t.Context())
	if err != nil || len(messages) != 3 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	if _, err := s.Receive(t.Context()); err != io.EOF {
		t.Errorf("the second receive: %v, want io.EOF", err)
	}
	first, second, third := messages[0], messages[1], messages[2]
	if day := first.Sent.UTC().Format(time.DateOnly); day != "2026-07-01" || first.Receives != 3 || first.ID.String() != "11111111-2222-4333-8444-555555555555" {
		t.Errorf("the first message: %+v", first)
	}
	if second.Sent.Before(today) || !second.DayOnly || second.Receives != 1 || second.ID != etl.MessageID("no uuid") {
		t.Errorf("a message without attributes: %+v", second)
	}
	if want := time.UnixMilli(-62167219200001); !third.Sent.Equal(want) {
		t.Errorf("dated %v, want %v", third.Sent, want)
	}
	s.Committed([]*etl.Message{first, third})
	if left := s.Uncommitted(); len(left) != 1 || left[0].Handle != "no uuid" {
		t.Errorf("left: %v", left)
	}
}
