package chaos

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
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
