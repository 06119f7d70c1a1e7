package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"cloakroom/crypto/envelope"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
)

// ringKeys is a vault's data keys in memory, and how often each was looked up.
type ringKeys struct {
	set    *kek.Set
	id     uuid.UUID
	mu     sync.Mutex
	rows   map[uint32]keys.WrappedKey
	looked map[uint32]int
	delay  time.Duration
	fail   error
}

func newRingKeys(t *testing.T, n int) *ringKeys {
	t.Helper()
	set, err := kek.Open(t.Context(), keystest.WriteKEK(t, bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	r := &ringKeys{set: set, id: uuid.New(), rows: map[uint32]keys.WrappedKey{}, looked: map[uint32]int{}}
	for id := uint32(1); id <= uint32(n); id++ {
		key, w, err := set.GenerateDataKey(t.Context(), kek.Binding{Vault: r.id, Purpose: kek.Seal, Key: id})
		if err != nil {
			t.Fatal(err)
		}
		check := envelope.Check(key.Expose(), id)
		r.rows[id] = keys.WrappedKey{KEK: w.KEK, KEKID: w.KEKID, Wrapped: w.Blob, KeyCheck: check[:]}
	}
	return r
}

func (r *ringKeys) lookup(ctx context.Context, id uint32) (keys.WrappedKey, error) {
	r.mu.Lock()
	r.looked[id]++
	row, ok := r.rows[id]
	delay, fail := r.delay, r.fail
	r.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return keys.WrappedKey{}, ctx.Err()
	}
	switch {
	case fail != nil:
		return keys.WrappedKey{}, fail
	case !ok:
		return keys.WrappedKey{}, fmt.Errorf("looking up data key %d: %w", id, keys.ErrNoKey)
	}
	return row, nil
}

func (r *ringKeys) ring() *keys.Keyring {
	known := []string{"file:00"}
	for _, row := range r.rows {
		known = append(known, row.KEKID)
	}
	return keys.NewKeyring((&keys.Vault{KEK: r.set}).Know(known...), keys.Settings{ID: r.id}, r.lookup)
}

func get(t *testing.T, ring *keys.Keyring, id uint32) {
	t.Helper()
	k, err := ring.Key(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if k.ID() != id {
		t.Fatalf("data key %d came for data key %d", k.ID(), id)
	}
}

// However many ask at once, each key is unwrapped once, and kept for its time.
func TestKeyringUnwrapsOnce(t *testing.T) {
	source := newRingKeys(t, 3)
	synctest.Test(t, func(t *testing.T) {
		source.delay = time.Second
		ring := source.ring()
		var group sync.WaitGroup
		for n := range 150 {
			group.Go(func() { get(t, ring, uint32(n%3+1)) })
		}
		group.Wait()
		for id := range uint32(3) {
			if n := source.looked[id+1]; n != 1 {
				t.Errorf("data key %d was looked up %d times", id+1, n)
			}
		}
		time.Sleep(keys.KeyringTTL - 2*time.Second)
		get(t, ring, 1)
		if n := source.looked[1]; n != 1 {
			t.Errorf("within its time, it was looked up %d times", n)
		}
		// Being used does not lengthen it: a revoked permission must take hold.
		time.Sleep(3 * time.Second)
		get(t, ring, 1)
		if n := source.looked[1]; n != 2 {
			t.Errorf("after its time, it was looked up %d times", n)
		}
		ring.Close()
		get(t, ring, 2)
		if n := source.looked[2]; n != 2 {
			t.Errorf("after Close, it was looked up %d times", n)
		}
	})
}

// The number of keys is bounded; the one used longest ago goes first.
func TestKeyringIsBounded(t *testing.T) {
	source := newRingKeys(t, keys.KeyringSize+1)
	ring := source.ring()
	for id := uint32(1); id <= keys.KeyringSize; id++ {
		get(t, ring, id)
	}
	get(t, ring, 1)
	get(t, ring, keys.KeyringSize+1)
	get(t, ring, 1)
	get(t, ring, 2)
	if source.looked[1] != 1 || source.looked[2] != 2 {
		t.Errorf("data key 1 was looked up %d times, want 1; data key 2 %d times, want 2", source.looked[1],
			source.looked[2])
	}
}

// One caller's cancellation is not the others'.
func TestKeyringSurvivesACancelledCaller(t *testing.T) {
	source := newRingKeys(t, 1)
	synctest.Test(t, func(t *testing.T) {
		source.delay = time.Second
		ring := source.ring()
		ctx, cancel := context.WithCancel(t.Context())
		var cancelled atomic.Bool
		var group sync.WaitGroup
		group.Go(func() {
			_, err := ring.Key(ctx, 1)
			cancelled.Store(errors.Is(err, context.Canceled))
		})
		synctest.Wait()
		group.Go(func() { get(t, ring, 1) })
		synctest.Wait()
		cancel()
		group.Wait()
		if !cancelled.Load() || source.looked[1] != 1 {
			t.Errorf("cancelled %v, looked up %d times", cancelled.Load(), source.looked[1])
		}
	})
}

func TestKeyringRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(*keys.WrappedKey)
		want   error
	}{
		"a bit of the wrapped bytes": {func(w *keys.WrappedKey) { w.Wrapped[len(w.Wrapped)/2] ^= 1 }, kek.ErrUnwrap},
		"wrapped bytes cut short":    {func(w *keys.WrappedKey) { w.Wrapped = w.Wrapped[:20] }, kek.ErrUnwrap},
		"a bit of the key check":     {func(w *keys.WrappedKey) { w.KeyCheck[15] ^= 1 }, keys.ErrKeyCheck},
		"key check cut short":        {func(w *keys.WrappedKey) { w.KeyCheck = w.KeyCheck[:15] }, keys.ErrKeyCheck},
		"no key check":               {func(w *keys.WrappedKey) { w.KeyCheck = nil }, keys.ErrKeyCheck},
		"another KEK":                {func(w *keys.WrappedKey) { w.KEKID = "file:00" }, kek.ErrNotConfigured},
	} {
		source := newRingKeys(t, 2)
		good := source.rows[1]
		bad := good
		bad.Wrapped, bad.KeyCheck = bytes.Clone(good.Wrapped), bytes.Clone(good.KeyCheck)
		c.damage(&bad)
		source.rows[1] = bad
		ring := source.ring()
		if _, err := ring.Key(t.Context(), 1); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		// What failed is not kept: once it is mended, it works.
		source.rows[1] = good
		get(t, ring, 1)
	}
	source := newRingKeys(t, 2)
	// Another key's row under this id: right bytes in the wrong place.
	source.rows[1] = source.rows[2]
	if _, err := source.ring().Key(t.Context(), 1); !errors.Is(err, kek.ErrUnwrap) {
		t.Errorf("another key's row: %v", err)
	}
	if _, err := source.ring().Key(t.Context(), 99); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("no row: %v", err)
	}
	source.fail = errors.New("the database is away")
	if _, err := source.ring().Key(t.Context(), 2); !errors.Is(err, source.fail) {
		t.Errorf("a lookup that failed: %v", err)
	}
}
