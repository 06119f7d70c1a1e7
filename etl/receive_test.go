package etl_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// tide is a source that has plenty, then nothing, and then ends; it counts who calls it at once.
type tide struct {
	mu       sync.Mutex
	plenty   int // receives that bring ten
	empty    int // receives after them that bring nothing
	calling  int
	high     int // the most callers while there was plenty
	low      int // callers when it ended
	next     int
	duration time.Duration // of a receive
}

func (s *tide) Receive(context.Context) ([]*etl.Message, error) {
	s.mu.Lock()
	s.calling++
	s.mu.Unlock()
	time.Sleep(s.duration)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.calling-- }()
	switch {
	case s.plenty > 0:
		s.plenty--
		s.high = max(s.high, s.calling)
		s.next += 10
		return etltest.Logins(s.next-10, s.next), nil
	case s.empty > 0:
		s.empty--
		return nil, nil
	}
	s.low = max(s.low, s.calling)
	return nil, io.EOF
}

func TestReceiversGrowAndShrink(t *testing.T) {
	t.Parallel()
	w := etltest.NewWriter(t, keystest.New(t), "ingest")
	source := &tide{plenty: 100, empty: 40, duration: 5 * time.Millisecond}
	s := etltest.Run(t, w, source, etl.Options{Receivers: 8})
	if s.Stored != 1000 {
		t.Errorf("%+v, want 1000 stored", s)
	}
	if source.high != 8 || source.low != 1 {
		t.Errorf("%d receivers while there was plenty and %d at the end, want 8 and 1", source.high, source.low)
	}
}
