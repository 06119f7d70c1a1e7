package rotation

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/internal/retry"
	"cloakroom/keys"
)

// session runs statements on a pool or in a transaction. Every statement that changes something
// goes through one, so that a test can kill the process before and after each.
type session struct {
	db   sqlx.ExtContext
	hook func(at string)
}

func (s session) get(ctx context.Context, dest any, query string, args ...any) error {
	s.hook("before")
	defer s.hook("after")
	return sqlx.GetContext(ctx, s.db, dest, query, args...)
}

func (s session) list(ctx context.Context, dest any, query string, args ...any) error {
	s.hook("before")
	defer s.hook("after")
	return sqlx.SelectContext(ctx, s.db, dest, query, args...)
}

func (s session) exec(ctx context.Context, query string, args ...any) error {
	s.hook("before")
	defer s.hook("after")
	_, err := s.db.ExecContext(ctx, query, args...)
	return err
}

func (s session) rows(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	s.hook("before")
	defer s.hook("after")
	return s.db.QueryxContext(ctx, query, args...)
}

// tx runs f in a transaction, and again after an error that may pass: a lock that is not free, an
// outage, or an epoch that was raised, which is then read again. So f must reset what it collects.
func (j *job) tx(ctx context.Context, doing string, f func(session) error) error {
	return j.again(ctx, doing, func() error {
		tx, err := j.vault.DB.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := f(session{tx, j.o.hook}); err != nil {
			return err
		}
		j.o.hook("before commit")
		defer j.o.hook("after commit")
		return tx.Commit()
	})
}

// call runs f, one statement in a transaction of its own, and again after an error that may pass.
func (j *job) call(ctx context.Context, doing string, f func(session) error) error {
	return j.again(ctx, doing, func() error { return f(session{j.vault.DB, j.o.hook}) })
}

// again calls f until it succeeds, fails for good, or Options.Patience is over.
func (j *job) again(ctx context.Context, doing string, f func() error) error {
	passes := func(err error) bool {
		if mayPass(err) {
			j.o.Log.Debug("waiting", "doing", doing, "error", err)
			return true
		}
		return false
	}
	err := retry.Do(ctx, retry.Pauses{Total: j.o.Patience}, passes, func() error {
		err := pg.Redact(f())
		if code := pg.Code(err); code == pg.StaleEpoch || code == pg.UnknownDataKey || errors.Is(err, errStale) {
			return cmp.Or(j.refresh(ctx), err)
		}
		return err
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case pg.Code(err) == lockNotAvailable:
		return fmt.Errorf("%s: %w: a lock was not free for %v; look for long transactions in pg_stat_activity, "+
			"then run it again",
			doing, keys.ErrUnfinished, j.o.Patience)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// mayPass reports an error after which the same work may succeed. Clocks that differ do not pass:
// somebody has to set one.
func mayPass(err error) bool {
	if errors.Is(err, errStale) {
		return true
	}
	switch pg.Code(err) {
	case pg.ClocksDiffer:
		return false
	case pg.StaleEpoch, pg.UnknownDataKey, lockNotAvailable, mismatchedResult, undefinedColumn:
		return true
	}
	return pg.IsUnavailable(err)
}

// SQLSTATEs that pass. The last two come from a function whose row type changed between planning
// and running: reindex adds and drops columns while others read.
const (
	lockNotAvailable = "55P03"
	mismatchedResult = "42804"
	undefinedColumn  = "42703"
)

// found reports whether a query for at most one row found one.
func found(err error) (bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
