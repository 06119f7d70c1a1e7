package sqsserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"cloakroom/internal/sandbox/sqsserver"
)

func TestInFlightLimit(t *testing.T) {
	b := newBench(t, sqsserver.Config{InFlightLimit: 2}, nil)
	b.put("a", "b", "c")
	got := b.receive(2)
	var over *types.OverLimit
	if _, err := b.tryReceive(0); !errors.As(err, &over) {
		t.Errorf("a short poll at the limit: got %v, want OverLimit", err)
	}
	if got, err := b.tryReceive(1); err != nil || len(got) != 0 {
		t.Errorf("a long poll at the limit: got %d messages and %v, want none", len(got), err)
	}
	woken := make(chan int)
	go func() {
		got, _ := b.tryReceive(20)
		woken <- len(got)
	}()
	time.Sleep(50 * time.Millisecond)
	b.delete(got[0])
	if n := <-woken; n != 1 {
		t.Errorf("a long poll at the limit got %d messages when there was room again, want 1", n)
	}
}

func TestAccessKeys(t *testing.T) {
	b := newBench(t, sqsserver.Config{Secrets: map[string]string{"ingest": testSecret, "open": ""}}, nil)
	b.receive(0)
	for _, tc := range []struct{ name, key, secret, code string }{
		{"a key that is not checked", "open", "anything at all will do", ""},
		{"an unknown key", "stranger", testSecret, "InvalidClientTokenId"},
		{"a wrong secret", "ingest", "another secret of 16", "SignatureDoesNotMatch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := newClient(t, b.srv, tc.key,
				tc.secret).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &b.url})
			var api smithy.APIError
			if tc.code == "" && err == nil {
				return
			}
			if !errors.As(err, &api) || api.ErrorCode() != tc.code {
				t.Errorf("got %v, want %q", err, tc.code)
			}
		})
	}
	t.Run("no signature", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.srv.URL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "AmazonSQS.ReceiveMessage")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("status %d, want 403", resp.StatusCode)
		}
	})
}

func TestAHandleOfAnotherQueueIsInvalid(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	other, err := b.srv.CreateQueue("other", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.put("x")
	m := b.receive(1)[0]
	var invalid *types.ReceiptHandleIsInvalid
	_, err = b.client.DeleteMessage(t.Context(),
		&sqs.DeleteMessageInput{QueueUrl: &other, ReceiptHandle: m.ReceiptHandle})
	if !errors.As(err, &invalid) {
		t.Errorf("got %v, want ReceiptHandleIsInvalid", err)
	}
}

func TestAStaleHandleChangesNothing(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.put("x")
	stale := b.receive(1)[0]
	b.srv.Redeliver(queueName)
	b.receive(1)
	if err := b.changeVisibility(stale, 0); err == nil {
		t.Error("changing the visibility with a stale handle succeeded")
	}
	b.delete(stale)
	b.counts(sqsserver.Counts{InFlight: 1})
}

func TestHoldingAMessageForTwelveHours(t *testing.T) {
	now := time.Date(2026, 7, 4, 12, 0, 0, 0, time.UTC)
	b := newBench(t, sqsserver.Config{Now: func() time.Time { return now }}, nil)
	b.put("x")
	m := b.receive(1)[0]
	now = now.Add(29 * time.Second)
	if err := b.changeVisibility(m, 12*60*60-29); err != nil {
		t.Errorf("up to twelve hours from the receive: %v", err)
	}
	if err := b.changeVisibility(m, 12*60*60-28); err == nil {
		t.Error("beyond twelve hours from the receive: succeeded")
	}
}

func TestAPolicyWhoseDeadLetterQueueIsGoneIsNotApplied(t *testing.T) {
	b, dead := newBenchWithDeadLetters(t)
	if _, err := b.client.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &dead}); err != nil {
		t.Fatal(err)
	}
	b.put("x")
	for range 3 {
		b.receive(1)
		b.srv.Redeliver(queueName)
	}
}

func TestFIFOQueuesAreRefused(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	for _, in := range []sqs.CreateQueueInput{
		{QueueName: aws.String("q.fifo")},
		{QueueName: aws.String("q"), Attributes: map[string]string{"FifoQueue": "true"}},
	} {
		var unsupported *types.UnsupportedOperation
		if _, err := b.client.CreateQueue(t.Context(), &in); !errors.As(err, &unsupported) {
			t.Errorf("%s: got %v, want UnsupportedOperation", *in.QueueName, err)
		}
	}
	var unsupported *types.UnsupportedOperation
	if _, err := b.client.TagQueue(t.Context(), &sqs.TagQueueInput{QueueUrl: &b.url, Tags: map[string]string{"a": "b"}}); !errors.As(
		err, &unsupported) {
		t.Errorf("TagQueue: got %v, want UnsupportedOperation", err)
	}
}

func TestMessagesOutliveAnOutage(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.put("x")
	if err := b.srv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.tryReceive(0); err == nil {
		t.Fatal("receiving from a closed server succeeded")
	}
	if err := b.srv.Start(); err != nil {
		t.Fatal(err)
	}
	b.receive(1)
}

func TestPutWithIDsAndTimes(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	sent := time.Date(2026, 1, 31, 23, 59, 59, 999e6, time.UTC)
	want := sqsserver.Message{ID: "not a UUID", Body: "x", SentAt: sent, Sender: "tester"}
	if err := b.srv.Put(queueName, want); err != nil {
		t.Fatal(err)
	}
	out, err := b.client.ReceiveMessage(
		t.Context(),
		&sqs.ReceiveMessageInput{
			QueueUrl:                    &b.url,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	got := out.Messages[0]
	if *got.MessageId != want.ID || got.Attributes["SentTimestamp"] != fmt.Sprint(sent.UnixMilli()) ||
		got.Attributes["SenderId"] != "tester" {
		t.Errorf("got %s %v", *got.MessageId, got.Attributes)
	}
	left := b.srv.Drain(queueName)
	if len(left) != 1 || left[0].ID != want.ID || left[0].Receives != 1 || !left[0].SentAt.Equal(sent) {
		t.Errorf("drained %+v", left)
	}
	b.counts(sqsserver.Counts{})
	b.delete(got) // of a message that is gone
}

func TestALongPollThatBuriesADeadLetterWaitsOn(t *testing.T) {
	b, _ := newBenchWithDeadLetters(t)
	b.put("x")
	b.receive(1)
	b.srv.Redeliver(queueName)
	time.AfterFunc(100*time.Millisecond, func() { _ = b.srv.Put(queueName, sqsserver.Message{Body: "y"}) })
	begin := time.Now()
	if got, err := b.tryReceive(20); err != nil || len(got) != 1 || *got[0].Body != "y" ||
		time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %d messages, %v", time.Since(begin), len(got), err)
	}
	if got := b.srv.Counts("dead"); got != (sqsserver.Counts{Visible: 1}) {
		t.Errorf("dead letters: %+v", got)
	}
}
