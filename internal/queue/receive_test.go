package queue_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

const receive = "ReceiveMessage"

func TestNoMoreIsReceivedThanMayBeHeld(t *testing.T) {
	for what, c := range map[string]queue.Config{
		"count": {MaxHeld: 20},
		"bytes": {MaxBytes: 20 * 400},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, c, 0)
			for range 50 {
				if err := b.server.Put(name, sqsserver.Message{Body: strings.Repeat("x", 400)}); err != nil {
					t.Fatal(err)
				}
			}
			got := b.receive(20)
			if !b.consumer.Full() {
				t.Fatalf("not full with %d held", b.consumer.Held())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			calls := len(b.calls(receive))
			if messages, err := b.consumer.Receive(ctx, 0); len(messages) > 0 || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("received %d more: %v", len(messages), err)
			}
			if n := len(b.calls(receive)); n != calls {
				t.Errorf("%d calls while nothing more may be held", n-calls)
			}
			b.consumer.Done(got[:1])
			b.receive(10) // waits for the delete, and no longer
		})
	}
}

func TestReceiveReportsErrors(t *testing.T) {
	for what, fault := range map[string]awswire.Fault{
		"throttled":            {Error: sqsserver.ErrRequestThrottled},
		"over limit":           {Error: sqsserver.ErrOverLimit},
		"internal failure":     {Error: awswire.ErrInternalFailure},
		"dropped":              {Drop: true},
		"dropped after effect": {Drop: true, After: true},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, queue.Config{}, 10)
			fault.Op = receive
			b.server.Inject(fault)
			if got, err := b.consumer.Receive(t.Context(), 0); err == nil || len(got) > 0 {
				t.Errorf("received %d messages and no error", len(got))
			}
			if n := len(b.calls(receive)); n > 3 {
				t.Errorf("%d calls in one receive: the SDK tries three times", n)
			}
			b.server.ClearFaults()
			b.consumer.Done(b.receive(10)) // once they are visible again
			b.eventually("all are deleted", b.drained)
		})
	}
}

// A body that was damaged on its way fails the whole receive; the messages come back. The SDK fails
// a receive of ten for one damaged body, and all of them are invisible to everybody until their
// visibility timeout: here nine come.
func TestReceiveLeavesWhatIsDamaged(t *testing.T) {
	b := newBench(t, queue.Config{Visibility: 2 * time.Second}, 10)
	b.server.CorruptMD5(name, 1)
	got, err := b.consumer.Receive(t.Context(), 0)
	if err != nil || len(got) != 9 {
		t.Fatalf("of ten messages, one of them damaged, %d were received: %v", len(got), err)
	}
	b.consumer.Done(got)
	b.consumer.Done(b.receive(1)) // once it is visible again
	b.eventually("all are deleted", b.drained)
}

// A server that takes the call and says nothing is given up after the poll's wait and ten seconds.
func TestReceiveHasADeadline(t *testing.T) {
	b := newBench(t, queue.Config{}, 0)
	b.server.Inject(awswire.Fault{Op: receive, Delay: time.Hour})
	began := time.Now()
	_, err := b.consumer.Receive(t.Context(), time.Second)
	if took := time.Since(began); err == nil || took < 10*time.Second || took > 13*time.Second {
		t.Errorf("gave up after %v: %v", took, err)
	}
}

// A message that SQS hands over while the daemon is told to stop is handed on: cut off, it would
// stay invisible.
func TestStopDoesNotCutAPollOff(t *testing.T) {
	b := newBench(t, queue.Config{}, 0)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	time.AfterFunc(200*time.Millisecond, func() { b.put(1) })
	got, err := b.consumer.Receive(ctx, 20*time.Second)
	if len(got) != 1 {
		t.Errorf("received %d messages: %v", len(got), err)
	}
	began := time.Now()
	if _, err := b.consumer.Receive(ctx, 20*time.Second); !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
		t.Errorf("receiving after the stop took %v: %v", time.Since(began), err)
	}
}

func TestWhatSQSTells(t *testing.T) {
	b := newBench(t, queue.Config{}, 0)
	sent := time.Date(2026, 2, 28, 23, 59, 59, 999e6, time.UTC)
	if err := b.server.Put(name, sqsserver.Message{ID: "not a UUID", Body: "one", SentAt: sent}); err != nil {
		t.Fatal(err)
	}
	m := b.receive(1)[0]
	if m.ID != "not a UUID" || string(m.Body) != "one" || !m.Sent.Equal(sent) || m.Receives != 1 {
		t.Errorf("received %+v", m)
	}
	b.server.Redeliver(name)
	if m = b.receive(1)[0]; m.Receives != 2 {
		t.Errorf("received %d times, want 2", m.Receives)
	}
}
