package sqsserver

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelled is what the test knows of a message.
type modelled struct {
	visibleAt int64 // milliseconds
	handle    handle
	received  bool
}

// TestQueueAgainstAModel plays sends, receives, deletes and changes of visibility against a plain map, with the clock
// in its hand: no message is lost, none comes early, none comes after its delete, and a stale handle does nothing.
func TestQueueAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := int64(1_000_000)
		q := newQueue("q", "arn", 1, defaultAttributes(), func() time.Time { return time.UnixMilli(now) })
		model := map[string]*modelled{}
		var handles []handle // all that were ever given out
		current := func(h handle) (string, *modelled) {
			for body, m := range model {
				if m.received && m.handle == h {
					return body, m
				}
			}
			return "", nil
		}
		locked := func(do func()) { q.mu.Lock(); defer q.mu.Unlock(); do() }
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				delay := rapid.IntRange(0, 3).Draw(t, "delay")
				n++
				body := string(rune('a'+n%26)) + time.UnixMilli(int64(n)).String()
				locked(func() { q.add(newMessage(Message{Body: body}, now), time.Duration(delay)*time.Second) })
				model[body] = &modelled{visibleAt: now + int64(delay)*1000}
			},
			"receive": func(t *rapid.T) {
				visibility, wait := rapid.IntRange(0, 5).Draw(t, "visibility"), 0
				most := rapid.IntRange(1, 10).Draw(t, "most")
				visible := 0
				for _, m := range model {
					if m.visibleAt <= now {
						visible++
					}
				}
				got, err := q.deliver(context.Background(),
					demand{most: most, visibility: &visibility, wait: &wait, limit: 1000}, nil,
					func(string) *queue { return nil })
				if err != nil {
					t.Fatal(err)
				}
				if want := min(most, visible); len(got) != want {
					t.Fatalf("received %d of %d visible messages, want %d", len(got), visible, want)
				}
				for _, d := range got {
					m := model[d.body]
					if m == nil || m.visibleAt > now {
						t.Fatalf("received a message that is deleted or invisible")
					}
					m.visibleAt, m.handle, m.received = now+int64(visibility)*1000, d.handle, true
					handles = append(handles, d.handle)
				}
			},
			"delete": func(t *rapid.T) {
				if len(handles) == 0 {
					t.Skip()
				}
				h := rapid.SampledFrom(handles).Draw(t, "handle")
				locked(func() { q.delete(h) })
				if body, m := current(h); m != nil {
					delete(model, body)
				}
			},
			"change visibility": func(t *rapid.T) {
				if len(handles) == 0 {
					t.Skip()
				}
				h := rapid.SampledFrom(handles).Draw(t, "handle")
				seconds := rapid.IntRange(0, 5).Draw(t, "seconds")
				_, m := current(h)
				var err error
				locked(func() { err = q.changeVisibility(h, "", seconds) })
				if inFlight := m != nil && m.visibleAt > now; inFlight != (err == nil) {
					t.Fatalf("changing visibility: %v", err)
				}
				if err == nil {
					m.visibleAt = now + int64(seconds)*1000
				}
			},
			"wait": func(t *rapid.T) { now += rapid.Int64Range(1, 3000).Draw(t, "milliseconds") },
			"": func(t *rapid.T) {
				locked(func() {
					q.promote()
					visible := 0
					for _, m := range model {
						if m.visibleAt <= now {
							visible++
						}
					}
					if q.counts[ready] != visible ||
						q.counts[ready]+q.counts[inFlight]+q.counts[delayed] != len(model) {
						t.Fatalf("counts %v, want %d visible of %d", q.counts, visible, len(model))
					}
					if len(q.timers.heap) != len(model)-visible {
						t.Fatalf("%d deadlines for %d invisible messages", len(q.timers.heap), len(model)-visible)
					}
				})
			},
		})
	})
}

func TestPollersThatLeaveAreForgotten(t *testing.T) {
	q := newQueue("q", "arn", 1, defaultAttributes(), time.Now)
	wait := 20
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := q.deliver(ctx, demand{most: 1, wait: &wait, limit: 1}, nil, nil); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if n := len(q.pollers.waiting); n != 0 {
		t.Errorf("%d pollers are still waited for", n)
	}
}
