package chaos

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloakroom/test/long"
)

// seeded is the test's source of randomness. CLOAKROOM_CHAOS_SEED repeats a run's decisions, though not its timing to
// the microsecond.
func seeded(t *testing.T) (uint64, *rand.Rand) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CLOAKROOM_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("reading CLOAKROOM_CHAOS_SEED: %v", err)
		}
	}
	t.Logf("CLOAKROOM_CHAOS_SEED=%d repeats this run", seed)
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// TestChaos runs three daemons on one queue while events come in, kills, stops and freezes them and Postgres, and
// damages every connection, at random moments; then it closes the ledger. Its long form makes 200
// kills of the usual 20.
func TestChaos(t *testing.T) {
	t.Parallel()
	kills := 20
	if long.Asked() {
		kills = 200
	}
	seed, random := seeded(t)
	r := newRig(t, nil)
	var daemons []*supervised
	for range 3 {
		daemons = append(daemons,
			r.supervise("--visibility-timeout", "3s", "--data-key-age", "5s", "--batch-rows", "200"))
	}
	stopFeed := r.feed(150)

	// Two hands at once: one at the processes, one at the connections.
	connections := r.damageConnections(rand.New(rand.NewPCG(seed, 1)))
	done := 0
	for done < kills {
		done += r.damageProcesses(random, daemons)
		time.Sleep(between(random, 50*time.Millisecond, 700*time.Millisecond))
	}
	faults := connections()
	stopFeed()
	r.settle(90 * time.Second)
	for _, d := range daemons {
		d.stop()
	}
	most := 0
	r.must(r.admin.Get(&most, `SELECT coalesce(max(receive_count), 0) FROM cloakroom.rejections`))
	t.Logf("%d kills and %d faults of connections; %d messages, received up to %d times; CLOAKROOM_CHAOS_SEED=%d", done,
		faults, len(r.sent), most, seed)
}

// supervised is a daemon that is started again whenever it ends.
type supervised struct {
	mu      sync.Mutex
	current *process
	ended   chan struct{}
	done    chan struct{}
}

func (r *rig) supervise(flags ...string) *supervised {
	s := &supervised{current: r.daemon(flags...), ended: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for {
			<-s.process().done
			select {
			case <-s.ended:
				return
			case <-time.After(100 * time.Millisecond):
			}
			p := r.daemon(flags...)
			s.mu.Lock()
			s.current = p
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *supervised) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// stop ends a daemon for good. It must be able to go in order: nothing is broken any more.
func (s *supervised) stop() {
	close(s.ended)
	s.process().stop()
	<-s.done
}
