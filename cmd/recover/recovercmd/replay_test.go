package recovercmd

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	recovery "cloakroom/recover"
)

// outbox is a queue that takes a given number of messages.
type outbox struct {
	room int
	got  []string
}

func (o *outbox) Send(_ context.Context, bodies []string) ([]string, error) {
	n := min(len(bodies), o.room-len(o.got))
	o.got = append(o.got, bodies[:n]...)
	if n < len(bodies) {
		return bodies[:n], errors.New("full")
	}
	return bodies, nil
}

func TestReplay(t *testing.T) {
	c := newFixture(t)
	bad := event(`{"user_id":"user-1","ip":"not an address","device_id":"d"}`)
	ingest(t, c.Env, bad, event(`nonsense`))
	for room, want := range map[int][]string{10: {string(bad.Body)}, 0: nil} {
		id := c.approved(t, recovery.RequestParams{Purpose: "support", Ticket: "T-1", Reason: "fixed", Rejection: "bad_ip"})
		d, err := c.alice.Show(t.Context(), id)
		if err != nil || !recovery.Replayable(d) {
			t.Fatalf("not replayable: %v", err)
		}
		opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		to := &outbox{room: room}
		sent, err := recovery.Replay(t.Context(), opened, to)
		opened.Close()
		if (err != nil) != (room == 0) || sent != int64(len(want)) {
			t.Errorf("room for %d: %d sent, %v", room, sent, err)
		}
		if diff := cmp.Diff(want, to.got); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
	}
}
