package queue_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

const remove = "DeleteMessageBatch"

func TestNothingIsDeletedUndone(t *testing.T) {
	b := newBench(t, queue.Config{}, 40)
	got := b.receive(40)
	b.consumer.Done(got[:25])
	b.eventually("25 are deleted", func() bool { return b.consumer.Held() == 15 })
	if c := b.server.Counts(name); c.Total() != 15 {
		t.Errorf("the queue counts %+v, want the 15 that are not done", c)
	}
}

func TestDeleteUsesNewestHandle(t *testing.T) {
	b := newBench(t, queue.Config{}, 1)
	first := b.receive(1)
	b.server.Redeliver(name)
	again := b.receive(1)
	if again[0].ID != first[0].ID || b.consumer.Held() != 1 {
		t.Fatalf("received %s again as %s, %d held", first[0].ID, again[0].ID, b.consumer.Held())
	}
	b.consumer.Done(first)
	b.eventually("it is deleted", b.drained)
	b.consumer.Done(again) // as the pipeline does later
	if n := len(b.calls(remove)); n != 1 {
		t.Errorf("%d deletes, want 1", n)
	}
}

func TestDeletedTwiceInOneReceive(t *testing.T) {
	b := newBench(t, queue.Config{}, 5)
	b.server.DeliverTwice(name, 5)
	b.consumer.Done(b.receive(10))
	b.eventually("all are deleted", b.drained)
}

// SQS calls a delete with an older handle a success and does nothing.
func TestDeleteRacesRedelivery(t *testing.T) {
	b := newBench(t, queue.Config{}, 1)
	got := b.receive(1)
	b.server.Inject(awswire.Fault{Op: remove, Delay: time.Second, Times: 1})
	b.consumer.Done(got)
	time.Sleep(100 * time.Millisecond)
	b.server.Redeliver(name)
	b.consumer.Done(b.receive(1))
	b.eventually("it is deleted", b.drained)
}

func TestRefusedEntriesAreTriedAgain(t *testing.T) {
	b := newBench(t, queue.Config{Deleters: 1}, 10)
	b.server.FailEntries(remove, 3, sqsserver.ErrOverLimit, 0, 1)
	got := b.receive(10)
	b.consumer.Done(got)
	b.eventually("all are deleted", b.drained)
	if n := len(b.calls(remove)); n != 4 {
		t.Errorf("%d calls, want 4: ten, then what was refused", n)
	}
}

func TestFailedCallsAreTriedAgain(t *testing.T) {
	for what, fault := range map[string]awswire.Fault{
		"throttled":            {Error: sqsserver.ErrRequestThrottled, Times: 7},
		"unavailable":          {Error: awswire.ErrServiceUnavailable, Times: 7},
		"dropped":              {Drop: true, Times: 7},
		"dropped after effect": {Drop: true, After: true, Times: 7},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, queue.Config{Deleters: 1}, 10)
			fault.Op = remove
			b.server.Inject(fault)
			b.consumer.Done(b.receive(10))
			b.eventually("all are deleted", b.drained)
			if b.seen.failures(remove) == 0 {
				t.Error("no failed call was reported")
			}
		})
	}
}

func TestGoneHandlesAreLetGo(t *testing.T) {
	b := newBench(t, queue.Config{}, 10)
	b.server.FailEntries(remove, 100, sqsserver.ErrReceiptHandleIsInvalid, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	b.consumer.Done(b.receive(10))
	b.eventually("none is held", func() bool { return b.consumer.Held() == 0 })
	if n := len(b.calls(remove)); n != 1 {
		t.Errorf("%d calls, want 1: no retry makes a handle good", n)
	}
}

// An answer's entries come in any order, and one that is in neither list was not deleted.
func TestAnswersAreMatchedByID(t *testing.T) {
	b := newBench(t, queue.Config{}, 0)
	b.put(10)
	mangled := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		b.server.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), remove) && mangled < 3 {
			mangled++
			var out struct {
				Successful []json.RawMessage
				Failed     []json.RawMessage
			}
			if err := json.Unmarshal(body, &out); err != nil {
				t.Error(err)
			}
			slices.Reverse(out.Successful)
			out.Successful = out.Successful[:len(out.Successful)-1]
			body, _ = json.Marshal(out)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body)
	}))
	t.Cleanup(proxy.Close)
	b.close(time.Second)
	b.consume(proxy.URL, queue.Config{Deleters: 1})
	b.ended = false
	b.consumer.Done(b.receive(10))
	b.eventually("all are deleted", b.drained)
	if n := len(b.calls(remove)); n != 4 {
		t.Errorf("%d calls, want 4: each of three answers left one out", n)
	}
}

func TestQueueIsRecreated(t *testing.T) {
	b := newBench(t, queue.Config{}, 10)
	old := b.receive(10)
	client := sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(b.server.URL()), HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Credentials: credentials.NewStaticCredentialsProvider("admin", "a secret of sixteen and more", ""),
	})
	if _, err := client.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: aws.String(b.server.QueueURL(name))}); err != nil {
		t.Fatal(err)
	}
	b.consumer.Done(old)
	_, err := b.consumer.Receive(t.Context(), 0)
	if err == nil || !strings.Contains(err.Error(), "check the queue's URL") {
		t.Errorf("received from no queue: %v", err)
	}
	b.eventually("a delete fails", func() bool { return b.seen.failures(remove) > 0 })
	b.create()
	b.put(5)
	b.eventually("the old messages are let go", func() bool { return b.consumer.Held() == 0 })
	b.consumer.Done(b.receive(5))
	b.eventually("the new ones are deleted", b.drained)
}
