package etl

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// collected is what collect makes of receives, each after a pause, as batch sizes and when each was
// handed on.
func collected(o Options, receives [][]*Message, pause time.Duration) string {
	l := &lane{run: &run{Options: o.withDefaults()}}
	in, out := make(chan []*Message), make(chan parcel)
	began := time.Now()
	go func() {
		defer close(in)
		for _, messages := range receives {
			in <- messages
			time.Sleep(pause)
		}
	}()
	failed := make(chan error, 1)
	go func() {
		defer close(out)
		failed <- l.collect(context.Background(), in, out)
	}()
	got := ""
	for batch := range out {
		got += fmt.Sprintf("%d@%v ", len(batch.messages), time.Since(began))
	}
	if err := <-failed; err != nil {
		return err.Error()
	}
	return got
}

func receives(n, messages, size int) [][]*Message {
	var out [][]*Message
	for range n {
		var part []*Message
		for range messages {
			part = append(part, &Message{Body: make([]byte, size)})
		}
		out = append(out, part)
	}
	return out
}

func TestCollect(t *testing.T) {
	for _, test := range []struct {
		name     string
		o        Options
		receives [][]*Message
		pause    time.Duration
		want     string
	}{
		{"by rows", Options{BatchRows: 10}, receives(5, 5, 1), 0, "10@0s 10@0s 5@0s "},
		{"a receive is parted", Options{BatchRows: 4}, receives(1, 10, 1), 0, "4@0s 4@0s 2@0s "},
		{"by bytes", Options{BatchBytes: 100}, receives(2, 5, 30), 0, "3@0s 3@0s 3@0s 1@0s "},
		{"an event larger than a batch", Options{BatchBytes: 100}, receives(3, 1, 101), 0, "1@0s 1@0s 1@0s "},
		// The first event of a batch waits for the delay and no longer, however many follow it.
		{"by age", Options{}, receives(5, 2, 1), 40 * time.Millisecond, "6@100ms 4@200ms "},
		{"a batch that was flushed for its size starts a new delay", Options{BatchRows: 3}, receives(3, 2, 1), 60 * time.Millisecond,
			"3@60ms 3@120ms "},
		{"the last one does not wait", Options{BatchDelay: time.Hour}, receives(1, 2, 1), time.Second, "2@1s "},
		{"nothing", Options{}, nil, 0, ""},
		{"empty receives", Options{}, [][]*Message{nil, {}, nil}, time.Second, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			if got := collected(test.o, test.receives, test.pause); got != test.want {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
		})
	}
}
