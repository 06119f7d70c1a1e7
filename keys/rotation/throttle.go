package rotation

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/time/rate"

	"cloakroom/internal/pg"
	"cloakroom/internal/retry"
)

// throttle slows the job down while loads run, to a rate, and pauses it while a standby lags or a
// file exists. All workers share one.
type throttle struct {
	db      *sqlx.DB
	o       Options
	limiter *rate.Limiter // nil: no limit

	mu     sync.Mutex
	loads  bool // as of looked
	looked time.Time
}

func newThrottle(db *sqlx.DB, o Options) *throttle {
	t := &throttle{db: db, o: o}
	if o.Rate > 0 {
		t.limiter = rate.NewLimiter(rate.Limit(o.Rate), max(o.BatchRows, 1))
	}
	return t
}

// pauseEvery is how often a pause checks whether it is over.
const pauseEvery = 500 * time.Millisecond

// wait waits until the job may go on after a batch. Call it between transactions, where no lock is
// held.
func (t *throttle) wait(ctx context.Context, rows int, took time.Duration) error {
	// Resting a multiple of the batch's duration adapts to the server: a slow one gets longer rests.
	if t.o.Rest > 0 && took > 0 {
		loading, err := t.loading(ctx)
		if err != nil {
			return err
		}
		if loading {
			if err := retry.Sleep(ctx, time.Duration(t.o.Rest*float64(took))); err != nil {
				return err
			}
		}
	}
	if t.limiter != nil && rows > 0 {
		if err := t.limiter.WaitN(ctx, min(rows, t.limiter.Burst())); err != nil {
			return err
		}
	}
	for told := false; ; told = true {
		why, err := t.pause(ctx)
		if err != nil || why == "" {
			return err
		}
		if !told {
			t.o.Log.Info("pausing", "because", why)
		}
		if err := retry.Sleep(ctx, pauseEvery); err != nil {
			return err
		}
	}
}

// lookEvery is how long the result of loading is reused: the query takes 2 ms.
const lookEvery = 100 * time.Millisecond

// loading reports whether a daemon's transaction is running. Any login may read that from locks,
// logins and role members. Superusers are left out: they hold every role.
func (t *throttle) loading(ctx context.Context) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.looked) < lookEvery {
		return t.loads, nil
	}
	err := t.db.GetContext(ctx, &t.loads, `
		SELECT EXISTS (
		  SELECT FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_roles r ON r.oid = a.usesysid
		   WHERE l.locktype = 'virtualxid' AND a.datname = current_database()
		     AND a.usename <> session_user AND NOT r.rolsuper
		     AND pg_has_role(a.usesysid, 'cloakroom_ingest', 'MEMBER'))`)
	if pg.IsUnavailable(err) {
		return false, nil // the next batch waits for the database
	}
	if err != nil {
		return false, fmt.Errorf("looking for running loads: %w", pg.Redact(err))
	}
	t.looked = time.Now()
	return t.loads, nil
}

// pause says why the job must pause; empty: it need not.
func (t *throttle) pause(ctx context.Context) (string, error) {
	if t.o.PauseFile != "" {
		if _, err := os.Stat(t.o.PauseFile); err == nil {
			return "the file " + t.o.PauseFile + " exists", nil
		}
	}
	if t.o.MaxLag <= 0 {
		return "", nil
	}
	var lag struct {
		Standbys int             `db:"standbys"`
		Hidden   int             `db:"hidden"`
		Seconds  sql.NullFloat64 `db:"seconds"`
	}
	err := t.db.GetContext(ctx, &lag, `
		SELECT count(*) AS standbys, count(*) FILTER (WHERE state IS NULL) AS hidden,
		       extract(epoch FROM max(replay_lag))::float8 AS seconds
		  FROM pg_stat_replication`)
	switch {
	case err != nil:
		return "", fmt.Errorf("measuring the standbys' lag: %w", pg.Redact(err))
	case lag.Hidden > 0:
		return "", fmt.Errorf("measuring the standbys' lag: this login may not see it: GRANT pg_read_all_stats " +
			"TO it, or leave out --max-lag")
	case lag.Seconds.Float64 > t.o.MaxLag.Seconds():
		return fmt.Sprintf("a standby lags by %.1f s", lag.Seconds.Float64), nil
	}
	return "", nil
}
