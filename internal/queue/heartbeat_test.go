package queue_test

import (
	"testing"
	"time"

	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

const extend = "ChangeMessageVisibilityBatch"

func TestHeartbeatExtendsAtHalfTime(t *testing.T) {
	b := newBench(t, queue.Config{}, 15)
	asked := time.Now()
	b.receive(15)
	time.Sleep(5 * time.Second) // two and a half visibility timeouts
	if c := b.server.Counts(name); c.InFlight != 15 {
		t.Errorf("the queue counts %+v, want 15 in flight", c)
	}
	first := b.calls(extend)[0].Time.Sub(asked)
	if first < 500*time.Millisecond || first > 1300*time.Millisecond {
		t.Errorf("first extended after %v, want about half of 2s", first)
	}
	if extended, failed := b.seen.counts(); extended < 30 || failed != 0 {
		t.Errorf("%d extended and %d failed", extended, failed)
	}
}

// A call that hangs is given up in time for another.
func TestHeartbeatHangs(t *testing.T) {
	b := newBench(t, queue.Config{Visibility: 4 * time.Second}, 1)
	b.server.Inject(awswire.Fault{Op: extend, Delay: time.Minute, Times: 1})
	b.receive(1)
	time.Sleep(6 * time.Second)
	if c := b.server.Counts(name); c.InFlight != 1 {
		t.Errorf("the queue counts %+v, want 1 in flight", c)
	}
	if n := len(b.calls(extend)); n < 2 {
		t.Errorf("%d calls, want the one that hung and another", n)
	}
}

func TestHeartbeatFailsAndRecovers(t *testing.T) {
	b := newBench(t, queue.Config{Visibility: 4 * time.Second}, 20)
	b.server.Inject(awswire.Fault{Op: extend, Error: awswire.ErrServiceUnavailable, Times: 2})
	b.server.FailEntries(extend, 1, sqsserver.ErrOverLimit, 0, 4)
	b.receive(20)
	time.Sleep(6 * time.Second)
	if c := b.server.Counts(name); c.InFlight != 20 {
		t.Errorf("the queue counts %+v, want 20 in flight", c)
	}
	if _, failed := b.seen.counts(); failed == 0 {
		t.Error("no failed extension was reported")
	}
}

// What somebody else holds by now is not asked for at every beat.
func TestHeartbeatLeavesLostHandles(t *testing.T) {
	b := newBench(t, queue.Config{}, 1)
	b.server.FailEntries(extend, 1000, sqsserver.ErrMessageNotInflight, 0)
	b.receive(1)
	b.eventually("it is visible again", func() bool { return b.server.Counts(name).Visible == 1 })
	time.Sleep(time.Second)
	if n := len(b.calls(extend)); n != 1 {
		t.Errorf("%d calls for a handle that is gone, want 1", n)
	}
	// Received again, it is held again.
	b.server.ClearFaults()
	b.receive(1)
	time.Sleep(3 * time.Second)
	if c := b.server.Counts(name); c.InFlight != 1 || b.consumer.Held() != 1 {
		t.Errorf("the queue counts %+v, %d held, want 1", c, b.consumer.Held())
	}
}

func TestHoldEnds(t *testing.T) {
	b := newBench(t, queue.Config{MaxHold: 4 * time.Second}, 1)
	asked := time.Now()
	b.receive(1)
	b.eventually("it is visible again", func() bool { return b.server.Counts(name).Visible == 1 })
	if held := time.Since(asked); held < 2*time.Second || held > 4300*time.Millisecond {
		t.Errorf("held for %v, want more than the visibility timeout and at most 4s", held)
	}
}
