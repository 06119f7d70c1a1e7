package sqsserver_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

func TestAConnectionDroppedAfterTheEffectSendsTwice(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.srv.Inject(awswire.Fault{Op: "SendMessage", Times: 1, Drop: true, After: true})
	if _, err := b.client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &b.url, MessageBody: aws.String("x")}); err != nil {
		t.Fatalf("the SDK did not try again: %v", err)
	}
	b.counts(sqsserver.Counts{Visible: 2})
}

func TestAConnectionDroppedBeforeTheEffectSendsOnce(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.srv.Inject(awswire.Fault{Op: "SendMessage", Times: 1, Drop: true})
	if _, err := b.client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &b.url, MessageBody: aws.String("x")}); err != nil {
		t.Fatalf("the SDK did not try again: %v", err)
	}
	b.counts(sqsserver.Counts{Visible: 1})
}

func TestAReceiveThatIsLostLeavesItsMessagesInFlight(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.put("a", "b")
	b.srv.Inject(awswire.Fault{Op: "ReceiveMessage", Drop: true, After: true, Times: 1})
	b.receive(0) // the SDK's second attempt
	b.counts(sqsserver.Counts{InFlight: 2})
	if n := b.srv.Redeliver(queueName); n != 2 {
		t.Errorf("made %d messages visible, want 2", n)
	}
	b.receive(2)
}

func TestFaultShapesReachTheSDK(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.srv.Inject(awswire.Fault{Op: "ReceiveMessage", Error: sqsserver.ErrOverLimit})
	var over *types.OverLimit
	if _, err := b.tryReceive(0); !errors.As(err, &over) {
		t.Errorf("got %v, want OverLimit", err)
	}
	b.srv.ClearFaults()
	b.srv.Inject(awswire.Fault{Error: sqsserver.ErrRequestThrottled, Times: 2})
	b.receive(0) // the third attempt
	if got := b.srv.Calls(); len(got) != 4 || got[1].Outcome != "RequestThrottled" || got[3].Outcome != "ok" ||
		got[3].Op != "ReceiveMessage" ||
		got[3].AccessKey != "ingest" {
		t.Errorf("calls: %+v", got)
	}
}

func TestDelayedAnswer(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.srv.Inject(awswire.Fault{Delay: 100 * time.Millisecond})
	begin := time.Now()
	b.receive(0)
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
}

func TestPartialFailures(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.put("a", "b", "c")
	b.srv.FailEntries("DeleteMessageBatch", 1, sqsserver.ErrInternalFailure, 0, 2)
	in := &sqs.DeleteMessageBatchInput{QueueUrl: &b.url}
	for _, m := range b.receive(3) {
		in.Entries = append(in.Entries,
			types.DeleteMessageBatchRequestEntry{Id: m.Body, ReceiptHandle: m.ReceiptHandle})
	}
	out, err := b.client.DeleteMessageBatch(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Failed) != 2 || *out.Failed[0].Id != "a" || *out.Failed[1].Id != "c" ||
		*out.Failed[0].Code != "InternalFailure" ||
		out.Failed[0].SenderFault {
		t.Errorf("failed: %+v", out.Failed)
	}
	b.counts(sqsserver.Counts{InFlight: 2})
	if out, err = b.client.DeleteMessageBatch(t.Context(), in); err != nil || len(out.Failed) != 0 {
		t.Errorf("the second batch: %+v %v", out, err)
	}
	b.counts(sqsserver.Counts{})
}

func TestPartialFailuresOfSends(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.srv.FailEntries("SendMessageBatch", 1, sqsserver.ErrInternalFailure, 1)
	out, err := b.client.SendMessageBatch(
		t.Context(),
		&sqs.SendMessageBatchInput{QueueUrl: &b.url, Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("a"), MessageBody: aws.String("a")}, {Id: aws.String("b"), MessageBody: aws.String("b")},
		}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "b" {
		t.Errorf("got %+v", out)
	}
	b.counts(sqsserver.Counts{Visible: 1})
}

func TestTheSameMessageTwiceInOneReceive(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.put("x")
	b.srv.DeliverTwice(queueName, 1)
	got := b.receive(2)
	if *got[0].MessageId != *got[1].MessageId || *got[0].ReceiptHandle == *got[1].ReceiptHandle {
		t.Fatalf("got %v and %v, want one message with two handles", *got[0].MessageId, *got[1].MessageId)
	}
	b.delete(got[0])
	b.counts(sqsserver.Counts{InFlight: 1})
	b.delete(got[1])
	b.counts(sqsserver.Counts{})
}

func TestAWrongDigestFailsTheWholeReceive(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.put("a", "b")
	b.srv.CorruptMD5(queueName, 1)
	if got, err := b.tryReceive(0); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("got %d messages and %v, want a checksum error", len(got), err)
	}
	b.counts(sqsserver.Counts{InFlight: 2})
	b.srv.Redeliver(queueName)
	b.receive(2)
}

func TestRedeliverByID(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	b.put("a", "b")
	got := b.receive(2)
	if n := b.srv.Redeliver(queueName, *got[1].MessageId); n != 1 {
		t.Errorf("made %d messages visible, want 1", n)
	}
	if again := b.receive(1); *again[0].MessageId != *got[1].MessageId {
		t.Errorf("got %s, want %s", *again[0].MessageId, *got[1].MessageId)
	}
}
