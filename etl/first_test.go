package etl_test

import (
	"fmt"
	"testing"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// What the queue says it delivers for the first time is loaded without looking for it first.
// Whether that was true or not, each event is stored once, and the others are counted.
func TestFirstDeliveries(t *testing.T) {
	t.Parallel()
	again := func(messages []*etl.Message, receives int) []*etl.Message {
		var out []*etl.Message
		for _, m := range messages {
			other := *m
			other.Receives = receives
			out = append(out, &other)
		}
		return out
	}
	known := etltest.Logins(0, 50)
	fresh := etltest.Logins(50, 100)
	tests := map[string]struct {
		batch              []*etl.Message
		stored, duplicates int64
	}{
		"all new":                    {fresh, 50, 0},
		"all known":                  {again(known, 1), 0, 50},
		"known among the new":        {append(again(known[10:12], 1), fresh...), 50, 2},
		"known and said to be":       {append(again(known[10:12], 2), fresh...), 50, 2},
		"twice in one batch":         {append(again(fresh[:3], 1), fresh...), 50, 3},
		"twice and one a redelivery": {append(again(fresh[:3], 2), fresh...), 50, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			w := etltest.NewWriter(t, env, "ingest")
			// Messages are one run's: the other cases run beside this one.
			if s := etltest.Run(t, w, etltest.NewSource(again(known, 1)), etl.Options{}); s.Stored != 50 {
				t.Fatalf("at first: %+v", s)
			}
			batch := make([]*etl.Message, len(test.batch))
			for i, m := range test.batch {
				batch[i] = again([]*etl.Message{m}, m.Receives)[0]
			}
			s := etltest.Run(t, w, etltest.NewSource(batch), etl.Options{BatchRows: len(batch)})
			if s.Stored != test.stored || s.Duplicates != test.duplicates {
				t.Errorf("%+v, want %d stored and %d duplicates", s, test.stored, test.duplicates)
			}
			all := known
			if test.stored > 0 {
				all = append(all[:len(all):len(all)], fresh...)
			}
			stored(t, env, all)
		})
	}
}

// The quicker INSERT is what runs: ON CONFLICT inserts speculatively, and confirms each row with
// another record of the WAL.
//
// Not parallel: the WAL is the server's, and every other test of this package writes it.
func TestFirstDeliveriesWriteLess(t *testing.T) {
	env := keystest.New(t)
	admin := env.Open(t, "")
	wal := func(first, end, receives int) (n int64) {
		messages := etltest.Logins(first, end)
		for _, m := range messages {
			m.Receives = receives
		}
		w := etltest.NewWriter(t, env, fmt.Sprintf("ingest%d", first))
		var before string
		if err := admin.Get(&before, `SELECT pg_current_wal_insert_lsn()::text`); err != nil {
			t.Fatal(err)
		}
		etltest.Run(t, w, etltest.NewSource(messages), etl.Options{BatchRows: 1000, Loaders: 1})
		if err := admin.Get(&n, `SELECT pg_current_wal_insert_lsn() - $1::pg_lsn`, before); err != nil {
			t.Fatal(err)
		}
		return n
	}
	wal(0, 1000, 1) // makes the partition's pages
	first, redelivered := wal(10_000, 13_000, 1), wal(20_000, 23_000, 2)
	if redelivered-first < 3000*10 { // a confirmation takes some 40 bytes; pages that split make noise
		t.Errorf("3,000 rows delivered for the first time wrote %d bytes of WAL, redelivered ones %d: want less by a record each", first, redelivered)
	}
}
