package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// endless is a source that delivers until it is stopped. Every message has one of five devices.
type endless struct {
	stopped atomic.Bool
	next    atomic.Int64
}

func (e *endless) Receive(ctx context.Context) ([]*etl.Message, error) {
	if e.stopped.Load() {
		return nil, io.EOF
	}
	var out []*etl.Message
	for range 10 {
		n := int(e.next.Add(1))
		out = append(out, etltest.Message(n,
			fmt.Sprintf(`{"user_id":"user-%d","ip":"10.9.%d.%d","device_id":"device %d"}`, n, n>>8&255, n&255, n%5)))
	}
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
	}
	return out, nil
}

// reader reads the view until ctx ends. Each device must have one token, so there are never more
// tokens than devices, and no row without a token.
func reader(ctx context.Context, db *sqlx.DB) (looks int, wrong string) {
	for ctx.Err() == nil {
		var got struct {
			Tokens  int `db:"tokens"`
			Missing int `db:"missing"`
		}
		err := db.Get(&got, `SELECT count(DISTINCT masked_device_id) AS tokens, count(*) FILTER (WHERE masked_device_id IS NULL OR masked_ip IS NULL) AS missing FROM public.user_logins`)
		switch {
		case pg.Code(err) == "55P03", ctx.Err() != nil:
			continue
		case err != nil:
			return looks, err.Error()
		case got.Tokens > 5 || got.Missing > 0:
			return looks, fmt.Sprintf("%+v", got)
		}
		looks++
	}
	return looks, ""
}

// TestOnline reindexes and reseals while a daemon ingests and analysts count, with two rotators at
// once.
func TestOnline(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 0)
	source := &endless{}
	ingested := make(chan etl.Summary, 1)
	go func() {
		sum, err := etl.Run(context.Background(), s.writer, source, etl.Options{BatchDelay: 20 * time.Millisecond,
			MaxOutage: 30 * time.Second})
		if err != nil {
			t.Error(err)
		}
		ingested <- sum
	}()
	analyst := s.Pool(t, s.As(t, "analyst", "analyst"))
	reading, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	readers.Go(func() {
		if looks, wrong := reader(reading, analyst); wrong != "" || looks == 0 {
			t.Errorf("a reader, after %d looks: %s", looks, wrong)
		}
	})
	time.Sleep(500 * time.Millisecond)

	vaults := []*keys.Vault{s.vault, s.Vault(t, s.As(t, "rotator2", "rotator"))}
	owner := s.owner(t)
	for range 2 {
		var rotators sync.WaitGroup
		for _, v := range vaults {
			rotators.Go(func() {
				if _, err := rotation.Reindex(t.Context(), v, rotation.Options{Owner: owner, BatchRows: 100, Rest: -1}); err != nil {
					t.Error(err)
				}
				if _, err := rotation.Reseal(t.Context(), v, rotation.Options{Force: true, BatchRows: 100, Rest: -1}); err != nil {
					t.Error(err)
				}
			})
		}
		rotators.Wait()
	}
	source.stopped.Store(true)
	sum := <-ingested
	stop()
	readers.Wait()
	t.Logf("%d rows ingested meanwhile", sum.Stored)
	s.verify(t, int(sum.Stored))
}

// A REPEATABLE READ reader whose snapshot is older than the backfill holds up the swap, and sees
// every token.
func TestOldSnapshotHoldsUpSwap(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 100)
	db := s.Open(t, "")
	tx := db.MustBegin()
	defer tx.Rollback()
	tx.MustExec(`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`)
	tx.MustExec(`SELECT count(*) FROM pg_class`) // its snapshot, and no lock on what is reindexed
	_, err := rotation.Reindex(t.Context(), s.vault, rotation.Options{Patience: time.Second})
	if !errors.Is(err, keys.ErrUnfinished) {
		t.Fatalf("%v, want unfinished", err)
	}
	var tokens int
	if err := tx.Get(&tokens, `SELECT count(masked_ip) FROM public.user_logins`); err != nil || tokens != 100 {
		t.Errorf("the reader sees %d tokens (%v)", tokens, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := rotation.Reindex(t.Context(), s.vault, rotation.Options{}); err != nil {
		t.Fatal(err)
	}
	s.verify(t, 100)
	if n := s.count(t, `SELECT max(version) FROM cloakroom.index_keys`); n != 2 {
		t.Errorf("version %d: the second run did not resume the first", n)
	}
}

// A row that does not open stays as it is, is named, and keeps its key from being retired.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 100)
	db := s.Open(t, "")
	var id string
	if err := db.Get(&id, `UPDATE cloakroom_data.user_logins SET sealed_ip = set_byte(sealed_ip, 30, get_byte(sealed_ip, 30) # 1)
		WHERE row_id = (SELECT min(row_id::text)::uuid FROM cloakroom_data.user_logins) RETURNING row_id`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		report, err := rotation.Reseal(t.Context(), s.vault, rotation.Options{Force: true})
		if !errors.Is(err, keys.ErrQuarantined) {
			t.Errorf("%v, want quarantined", err)
		}
		if len(report.Quarantined) != 1 || report.Quarantined[0].RowID != id || len(report.Retired) > 0 {
			t.Errorf("report: %+v", report)
		}
	}
	if states := s.states(t); states[1] != "closed" {
		t.Errorf("states: %v", states)
	}
}

// The rotator's login has no privilege on any table: it may only execute functions.
func TestRotatorHasNoTablePrivilege(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 1)
	s.As(t, "bare", "rotator")
	var tables []string
	if err := s.Open(t, "").Select(&tables, `
		SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		 WHERE (n.nspname = 'cloakroom' OR c.relname LIKE 'user_login%') AND c.relkind IN ('r', 'p', 'v', 'S')
		   AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege($1, c.oid, 'USAGE, SELECT, UPDATE')
		            ELSE has_table_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES,
			TRIGGER') END`, s.Role("bare")); err != nil {
		t.Fatal(err)
	}
	if len(tables) > 0 {
		t.Errorf("the rotator has privileges on %v", tables)
	}
	if _, err := s.vault.DB.Exec(`SELECT cloakroom.set_policy('approvals', '0')`); pg.Code(err) != "42501" {
		t.Errorf("the rotator sets the policy: %v", err)
	}
}
