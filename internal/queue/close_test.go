package queue_test

import (
	"sync"
	"testing"
	"time"

	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/awswire"
)

func TestCloseDeletesWhatIsDoneAndGivesBackTheRest(t *testing.T) {
	b := newBench(t, queue.Config{Visibility: time.Hour}, 250)
	got := b.receive(250)
	b.consumer.Done(got[:120])
	if undeleted, released := b.close(5 * time.Second); undeleted != 0 || released != 130 {
		t.Errorf("%d not deleted and %d given back, want 0 and 130", undeleted, released)
	}
	if c := b.server.Counts(name); c.Visible != 130 || c.Total() != 130 {
		t.Errorf("the queue counts %+v, want 130 visible", c)
	}
	if _, err := b.consumer.Receive(t.Context(), 0); err == nil {
		t.Error("a closed consumer received")
	}
}

// Deletes that fail do not use up the time in which messages are given back.
func TestCloseWhileDeletesFail(t *testing.T) {
	b := newBench(t, queue.Config{Visibility: time.Hour}, 30)
	got := b.receive(30)
	b.server.Inject(awswire.Fault{Op: remove, Drop: true})
	b.consumer.Done(got[:10])
	began := time.Now()
	undeleted, released := b.close(time.Second)
	if took := time.Since(began); undeleted != 10 || released != 20 || took > 2*time.Second {
		t.Errorf("%d not deleted and %d given back after %v, want 10 and 20 after 1s", undeleted, released, took)
	}
}

func TestCloseWhileSQSHangs(t *testing.T) {
	b := newBench(t, queue.Config{}, 20)
	got := b.receive(20)
	b.server.Inject(awswire.Fault{Delay: time.Hour})
	b.consumer.Done(got[:10])
	time.Sleep(1500 * time.Millisecond) // a beat hangs as well
	began := time.Now()
	undeleted, released := b.close(time.Second)
	if took := time.Since(began); undeleted != 10 || released != 0 || took > 2*time.Second {
		t.Errorf("%d not deleted and %d given back after %v, want 10 and 0 after 1s", undeleted, released, took)
	}
}

// Everything at once, for the race detector: receivers, deliveries twice, refusals, and a close in
// the middle.
func TestConcurrentUse(t *testing.T) {
	b := newBench(t, queue.Config{MaxHeld: 200}, 3000)
	b.server.DeliverTwice(name, 300)
	b.server.Inject(awswire.Fault{Fraction: 0.05, Error: awswire.ErrInternalFailure})
	var receivers sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]bool{}
	for range 8 {
		receivers.Go(func() {
			for {
				got, err := b.consumer.Receive(t.Context(), 0)
				if err == nil && len(got) == 0 {
					return
				}
				mu.Lock()
				for _, m := range got {
					ids[m.ID] = true
				}
				mu.Unlock()
				b.consumer.Done(got)
			}
		})
	}
	receivers.Wait()
	b.server.ClearFaults()
	// What a failed call handed over comes back.
	for len(ids) < 3000 || !b.drained() {
		got, _ := b.consumer.Receive(t.Context(), 0)
		for _, m := range got {
			ids[m.ID] = true
		}
		b.consumer.Done(got)
	}
}
