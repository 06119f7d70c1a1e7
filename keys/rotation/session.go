package rotation

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// session runs statements on a pool or in a transaction. Every statement of this package goes through one, so that a test
// can kill the process before and after each.
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

// tx runs f in a transaction, again and again while what stops it may pass: a lock that is not free, an outage, or a vault
// that has moved on, whose state is then read anew.
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

// call runs one statement in a transaction of its own, again while what stops it may pass.
func (j *job) call(ctx context.Context, doing string, f func(session) error) error {
	return j.again(ctx, doing, func() error { return f(session{j.vault.DB, j.o.hook}) })
}

func (j *job) again(ctx context.Context, doing string, f func() error) error {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 20*time.Millisecond, 5*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		switch code := pg.Code(err); {
		case err == nil:
			return struct{}{}, nil
		case ctx.Err() != nil:
			return struct{}{}, backoff.Permanent(ctx.Err())
		case code == pg.StaleEpoch, code == pg.UnknownDataKey:
			if err := j.refresh(ctx); err != nil {
				return struct{}{}, err
			}
			return struct{}{}, err
		case code == pg.ClocksDiffer:
			return struct{}{}, backoff.Permanent(err) // no patience sets a clock
		case code == lockNotAvailable, pg.IsUnavailable(err), code == mismatchedResult, code == undefinedColumn:
			j.o.Log.Debug("waiting", "doing", doing, "error", pg.Redact(err))
			return struct{}{}, err
		}
		return struct{}{}, backoff.Permanent(err)
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(j.o.Patience))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	switch {
	case err == nil:
		return nil
	case pg.Code(err) == lockNotAvailable:
		return fmt.Errorf("%s: %w: a lock was not free for %v; look for long transactions in pg_stat_activity, then run it again", doing, keys.ErrUnfinished, j.o.Patience)
	}
	return fmt.Errorf("%s: %w", doing, pg.Redact(err))
}

// SQLSTATEs that pass. The last two are a function whose row type changed between planning and running: reindex adds and
// drops columns while others read.
const (
	lockNotAvailable = "55P03"
	mismatchedResult = "42804"
	undefinedColumn  = "42703"
)

// one reports whether a query that finds one row or none found one.
func one(err error) (bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
