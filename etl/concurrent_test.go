package etl_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// eventually waits for something that another goroutine brings about.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to pass in 20 s")
		}
	}
}

// Several processes are handed the same events, in different orders and batches: each is stored
// once, and they wait for each other without deadlock.
func TestOverlappingLoads(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	admin := env.Open(t, "")
	// A deadlock is found at once, and counted.
	admin.MustExec(`ALTER DATABASE ` + env.Name() + ` SET deadlock_timeout = '10ms'`)
	messages := etltest.Logins(0, 1500)
	for n := range 100 {
		messages = append(messages, etltest.Message(10_000+n, "hello"))
	}
	var mu sync.Mutex
	var total etl.Summary
	var group sync.WaitGroup
	for n := range 4 {
		// A message is one run's: each daemon receives its own.
		shuffled := make([]*etl.Message, len(messages))
		for i, m := range messages {
			received := *m
			shuffled[i] = &received
		}
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		w := etltest.NewWriter(t, env, fmt.Sprintf("ingest%d", n))
		group.Go(func() {
			s := etltest.Run(t, w, etltest.NewSource(etltest.Parts(shuffled, 40)...), etl.Options{BatchRows: 60 + n, Loaders: 3})
			mu.Lock()
			defer mu.Unlock()
			total.Stored += s.Stored
			total.Rejected += s.Rejected
		})
	}
	group.Wait()
	if total.Stored != 1500 || total.Rejected != 100 {
		t.Errorf("together: %+v", total)
	}
	var deadlocks int
	if err := admin.Get(&deadlocks, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); err != nil || deadlocks != 0 {
		t.Errorf("%d deadlocks (%v)", deadlocks, err)
	}
	stored(t, env, messages[:1500])
}

// Loaders that all miss the same months make each once.
func TestMonthsMadeAtOnce(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	const months = 24
	var group sync.WaitGroup
	for n := range 4 {
		w := etltest.NewWriter(t, env, fmt.Sprintf("ingest%d", n))
		var messages []*etl.Message
		for i := range 10 * months {
			m := etltest.Login(n*1_000_000 + i)
			m.Sent = time.Date(2021, time.Month(1+i%months), 1+i%28, 0, 0, 0, 0, time.UTC)
			messages = append(messages, m)
		}
		group.Go(func() {
			if s := etltest.Run(t, w, etltest.NewSource(etltest.Parts(messages, 30)...), etl.Options{BatchRows: 30, Loaders: 2}); s.Stored != 10*months {
				t.Errorf("%+v", s)
			}
		})
	}
	group.Wait()
	var made, indexes int
	db := env.Open(t, "")
	if err := db.Get(&made, `SELECT count(*) FROM cloakroom.partition_list('login') WHERE from_date < '2023-01-01'`); err != nil || made != months {
		t.Errorf("%d months (%v), want %d", made, err, months)
	}
	// LIKE copied the indexes, and ATTACH took them for the parent's: no second set.
	const count = `SELECT count(*) FROM pg_index WHERE indrelid = $1::regclass`
	var parents int
	if err := db.Get(&parents, count, "cloakroom_data.user_logins"); err != nil || parents < 3 {
		t.Errorf("%d indexes on the table (%v)", parents, err)
	}
	if err := db.Get(&indexes, count, "cloakroom_data.user_logins_2021_05"); err != nil || indexes != parents {
		t.Errorf("%d indexes on a partition (%v), want %d", indexes, err, parents)
	}
}

// A batch waits for more events only so long, though its source has not ended.
func TestBatchDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	source := etltest.NewSource(etltest.Logins(0, 3), etltest.Logins(3, 4))
	db := env.Open(t, "")
	source.Before = func(n int) {
		if n == 1 {
			eventually(t, func() bool {
				var rows int
				if err := db.Get(&rows, `SELECT count(*) FROM cloakroom_data.user_logins`); err != nil {
					t.Error(err)
					return true
				}
				return rows == 3
			})
		}
	}
	if s := etltest.Run(t, w, source, etl.Options{}); s.Stored != 4 {
		t.Errorf("%+v", s)
	}
}
