package sqsserver_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloakroom/internal/sandbox/sqsserver"
)

// TestManySendersAndReceivers sends from several goroutines and receives by long polls in others, all through the
// SDK: every message comes, and comes once.
func TestManySendersAndReceivers(t *testing.T) {
	b := newBench(t, sqsserver.Config{}, nil)
	const senders, batches, receivers = 4, 25, 4
	const total = senders * batches * 10
	var seen sync.Map
	var got atomic.Int64
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range batches {
				in := &sqs.SendMessageBatchInput{QueueUrl: &b.url}
				for j := range 10 {
					id := fmt.Sprintf("%d-%d-%d", s, i, j)
					in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &id})
				}
				if out, err := b.client.SendMessageBatch(t.Context(), in); err != nil || len(out.Failed) > 0 {
					t.Errorf("sending: %v %v", out, err)
				}
			}
		})
	}
	for range receivers {
		wg.Go(func() {
			for got.Load() < total {
				messages, err := b.tryReceive(1)
				if err != nil {
					t.Errorf("receiving: %v", err)
					return
				}
				in := &sqs.DeleteMessageBatchInput{QueueUrl: &b.url}
				for _, m := range messages {
					if _, twice := seen.LoadOrStore(*m.Body, true); twice {
						t.Errorf("%s came twice", *m.Body)
					}
					in.Entries = append(in.Entries,
						types.DeleteMessageBatchRequestEntry{Id: m.MessageId, ReceiptHandle: m.ReceiptHandle})
				}
				got.Add(int64(len(messages)))
				if len(in.Entries) == 0 {
					continue
				}
				if out, err := b.client.DeleteMessageBatch(t.Context(), in); err != nil || len(out.Failed) > 0 {
					t.Errorf("deleting: %v %v", out, err)
				}
			}
		})
	}
	wg.Wait()
	b.counts(sqsserver.Counts{})
}
