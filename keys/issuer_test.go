package keys_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cloakroom/internal/pg"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
)

var july = time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC)

func acquire(t *testing.T, i *keys.Issuer, date time.Time, seals, bytes uint64) uint32 {
	t.Helper()
	k, err := i.Acquire(t.Context(), date, seals, bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k.ID()
}

// A key seals as much as its caps say and no more; the next one is fetched ahead, once, and taken
// over without a wait.
func TestIssuerCaps(t *testing.T) {
	for name, c := range map[string]struct {
		caps keys.Caps
		use  func(*keys.Issuer, *clock) uint32 // one percent of the caps
	}{
		"seals": {keys.Caps{Seals: 100}, func(i *keys.Issuer, _ *clock) uint32 { return acquire(t, i, july, 1, 0) }},
		"bytes": {keys.Caps{Bytes: 10_000}, func(i *keys.Issuer,
			_ *clock) uint32 {
			return acquire(t, i, july, 0, 100)
		}},
		"age": {keys.Caps{Age: 100 * time.Second}, func(i *keys.Issuer, c *clock) uint32 {
			id := acquire(t, i, july, 1, 1)
			c.add(time.Second)
			return id
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, srv, v := withKMS(t)
			i, clock := newIssuer(t, v, c.caps)
			first := c.use(i, clock)
			for range 73 {
				if id := c.use(i, clock); id != first {
					t.Fatalf("data key %d before data key %d was used up", id, first)
				}
			}
			if n := generated(srv); n != 1 {
				t.Fatalf("%d keys were generated at 74 percent", n)
			}
			for range 17 {
				c.use(i, clock)
			}
			eventually(t, "the next key is fetched ahead", func() bool { return generated(srv) == 2 })
			for range 9 {
				if id := c.use(i, clock); id != first {
					t.Fatalf("data key %d before data key %d was used up", id, first)
				}
			}
			// The next use is beyond the cap: the key that was fetched ahead, though KMS is away by
			// now.
			defer srv.Inject(awswire.Fault{Error: kmsserver.ErrThrottling})()
			second := c.use(i, clock)
			if second == first {
				t.Error("a key was used beyond its cap")
			}
			if n := generated(srv); n != 2 {
				t.Errorf("%d keys were generated, want 2", n)
			}
		})
	}
}

func TestIssuerRefusesMoreThanAKeyMaySeal(t *testing.T) {
	_, srv, v := withKMS(t)
	i, _ := newIssuer(t, v, keys.Caps{Seals: 10, Bytes: 100})
	for _, c := range [][2]uint64{{11, 1}, {1, 101}, {1 << 63, 1}} {
		if _, err := i.Acquire(t.Context(), july, c[0], c[1]); err == nil {
			t.Errorf("%d values of %d bytes were granted", c[0], c[1])
		}
	}
	if n := generated(srv); n != 0 {
		t.Errorf("%d keys were generated for nothing", n)
	}
	if a, b := acquire(t, i, july, 10, 100), acquire(t, i, july, 10, 100); a == b {
		t.Errorf("data key %d was handed out whole, twice", a)
	}
}

// A hundred goroutines that all need a key at once cause one call, at the start and at each cap.
func TestIssuerDoesNotStampede(t *testing.T) {
	_, srv, v := withKMS(t)
	i, _ := newIssuer(t, v, keys.Caps{Seals: 1000})
	defer srv.Inject(awswire.Fault{Delay: 50 * time.Millisecond})()
	var mu sync.Mutex
	used := map[uint32]uint64{}
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			for range 35 {
				k, err := i.Acquire(t.Context(), july, 1, 1)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				used[k.ID()]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	// 3,500 seals need 4 keys of 1,000 each.
	if len(used) != 4 || generated(srv) != 4 {
		t.Errorf("%d keys were used and %d generated, want 4", len(used), generated(srv))
	}
	for id, n := range used {
		if n > 1000 {
			t.Errorf("data key %d sealed %d values, want at most 1000", id, n)
		}
	}
}

// While the KEK is away, sealing goes on under the key in hand until its cap, and then stops.
// Nobody hammers KMS meanwhile.
func TestIssuerWithoutKEK(t *testing.T) {
	_, srv, v := withKMS(t)
	i, clock := newIssuer(t, v, keys.Caps{Seals: 100})
	first := acquire(t, i, july, 1, 1)
	cancel := srv.Inject(awswire.Fault{Error: kmsserver.ErrThrottling})
	for range 99 {
		if id := acquire(t, i, july, 1, 1); id != first {
			t.Fatalf("data key %d came from a KMS that is away", id)
		}
	}
	if _, err := i.Acquire(t.Context(), july, 1, 1); !errors.Is(err, kek.ErrUnavailable) {
		t.Errorf("at the cap: %v, want ErrUnavailable", err)
	}
	// Some ten uses were past the point to fetch ahead: one tried, then all waited; the last one
	// needed it.
	if n := generated(srv); n > 4 {
		t.Errorf("KMS was called %d times while it was away", n)
	}
	cancel()
	clock.add(time.Minute)
	if id := acquire(t, i, july, 1, 1); id == first {
		t.Errorf("data key %d is used beyond its cap", id)
	}
}

// A fetch ahead that failed is tried again after a while, before the key in hand is used up.
func TestIssuerTriesAgainAhead(t *testing.T) {
	_, srv, v := withKMS(t)
	i, clock := newIssuer(t, v, keys.Caps{Seals: 1000})
	cancel := srv.Inject(awswire.Fault{Error: kmsserver.ErrThrottling, Skip: 1})
	first := acquire(t, i, july, 950, 1)
	acquire(t, i, july, 1, 1)
	eventually(t, "a fetch ahead fails", func() bool { return generated(srv) == 2 })
	cancel()
	time.Sleep(20 * time.Millisecond) // let the failure be noted
	for range 5 {
		acquire(t, i, july, 1, 1)
	}
	if n := generated(srv); n != 2 {
		t.Errorf("KMS was called %d times within the pause", n)
	}
	clock.add(11 * time.Second)
	if id := acquire(t, i, july, 1, 1); id != first {
		t.Errorf("data key %d, want %d until its cap", id, first)
	}
	eventually(t, "it is fetched again", func() bool { return generated(srv) == 3 })
}

// Anyone who cancels waits no longer; the fetch goes on for the others.
func TestAcquireHonoursItsContext(t *testing.T) {
	_, srv, v := withKMS(t)
	i, _ := newIssuer(t, v, keys.Caps{})
	defer srv.Inject(awswire.Fault{Delay: 300 * time.Millisecond})()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := i.Acquire(ctx, july, 1, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's end", err)
	}
	acquire(t, i, july, 1, 1)
	if n := generated(srv); n != 1 {
		t.Errorf("%d keys were generated, want only the one that was being fetched", n)
	}
}

// Before a key is handed out it stands in the vault, for its month, as it is.
func TestIssuerRegistersFirst(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	db := env.Open(t, "")
	seen := map[uint32]bool{}
	for n := range 3 {
		i, _ := newIssuer(t, env.Vault(t, env.As(t, fmt.Sprintf("ingest%d", n), "ingest")), keys.Caps{})
		for month := range 4 {
			date := july.AddDate(0, month, 0)
			k, err := i.Acquire(t.Context(), date, 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			if seen[k.ID()] {
				t.Errorf("data key %d was handed out twice", k.ID())
			}
			seen[k.ID()] = true
			var row struct {
				Month time.Time `db:"month"`
				State string    `db:"state"`
				Check []byte    `db:"key_check"`
				By    string    `db:"created_by"`
			}
			if err := db.Get(&row, `SELECT month, state, key_check, created_by FROM cloakroom.data_keys WHERE id = $1`, k.ID()); err != nil {
				t.Fatalf("data key %d: %v", k.ID(), err)
			}
			if !row.Month.Equal(keys.MonthOf(date)) || !k.Month.Equal(keys.MonthOf(date)) || row.State != "active" || string(row.Check) != string(k.Check[:]) || row.By != env.Role(fmt.Sprintf("ingest%d", n)) {
				t.Errorf("data key %d stands in the vault as %+v", k.ID(), row)
			}
			if again := acquire(t, i, date.AddDate(0, 0, 3), 1, 1); again != k.ID() {
				t.Errorf("two keys, %d and %d, for one month", k.ID(), again)
			}
		}
	}
}

// A vault that gives back another key than was registered gets nothing sealed under it.
func TestIssuerReadsBack(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]string{
		"wrapped bytes": `NEW.wrapped := NEW.wrapped || '\x00'`,
		"key check":     `NEW.key_check := decode(repeat('00', 16), 'hex')`,
		"month":         `NEW.month := NEW.month + interval '1 month'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			db := env.Open(t, "")
			db.MustExec(`CREATE FUNCTION public.damage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + damage + `; RETURN NEW; END $$`)
			db.MustExec(`CREATE TRIGGER damage BEFORE INSERT ON cloakroom.data_keys FOR EACH ROW EXECUTE FUNCTION public.damage()`)
			i, _ := newIssuer(t, env.Vault(t, env.As(t, "ingest", "ingest")), keys.Caps{})
			if _, err := i.Acquire(t.Context(), july, 1, 1); !errors.Is(err, keys.ErrKeyCheck) {
				t.Errorf("%v, want ErrKeyCheck", err)
			}
			db.MustExec(`DROP TRIGGER damage ON cloakroom.data_keys`)
			acquire(t, i, july, 1, 1)
		})
	}
}

// After Discard no key that was in hand, or on its way, is handed out.
func TestDiscard(t *testing.T) {
	_, srv, v := withKMS(t)
	i, _ := newIssuer(t, v, keys.Caps{Seals: 100})
	first := acquire(t, i, july, 1, 1)
	i.Discard()
	second := acquire(t, i, july, 60, 1)
	if second == first {
		t.Error("a discarded key was handed out")
	}
	cancel := srv.Inject(awswire.Fault{Delay: 100 * time.Millisecond})
	acquire(t, i, july, 35, 1) // past the point to fetch ahead: a third key is on its way
	i.Discard()
	fourth := acquire(t, i, july, 1, 1)
	cancel()
	eventually(t, "the running fetch ends", func() bool { return generated(srv) == 4 })
	time.Sleep(20 * time.Millisecond)
	for range 99 {
		if id := acquire(t, i, july, 1, 1); id != fourth {
			t.Fatalf("data key %d, want %d until its cap", id, fourth)
		}
	}
}

// A backfill over many months does not keep a key for each.
func TestIssuerForgetsMonths(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	env.Open(t, "").MustExec(`UPDATE cloakroom.settings SET days_back = 36600`)
	i, _ := newIssuer(t, env.Vault(t, env.As(t, "ingest", "ingest")), keys.Caps{})
	for month := range 2*keys.MaxMonths + 5 {
		acquire(t, i, july.AddDate(0, -month, 0), 1, 1)
		if n := i.Months(); n > keys.MaxMonths {
			t.Fatalf("%d months are kept", n)
		}
	}
}

// A daemon to which the vault gives no more keys goes on under the one it has, past its age, to its other caps. A new
// process has none to go on with.
func TestRefusedIssuerGoesOn(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	admin, v := env.Open(t, ""), env.Vault(t, env.As(t, "ingest", "ingest"))
	i, clock := newIssuer(t, v, keys.Caps{Seals: 100})
	first := acquire(t, i, july, 1, 1)
	admin.MustExec(`UPDATE cloakroom.settings SET key_registrations = 1`)
	for range 3 {
		clock.add(time.Hour)
		if id := acquire(t, i, july, 10, 1); id != first {
			t.Errorf("data key %d was used, want %d", id, first)
		}
	}
	if _, err := i.Acquire(t.Context(), july, 70, 1); pg.Code(err) != pg.TooManyKeys {
		t.Errorf("beyond its seals: %v", err)
	}
	fresh, _ := newIssuer(t, v, keys.Caps{})
	if _, err := fresh.Acquire(t.Context(), july, 1, 1); pg.Code(err) != pg.TooManyKeys || !pg.IsUnavailable(err) {
		t.Errorf("without a key: %v, want an outage", err)
	}
	admin.MustExec(`UPDATE cloakroom.settings SET key_registrations = 1000`)
	clock.add(time.Hour)
	if id := acquire(t, i, july, 1, 1); id == first {
		t.Error("the old key is used though a new one is to be had")
	}
}
