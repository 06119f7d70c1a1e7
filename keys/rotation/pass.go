package rotation

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"cloakroom/internal/retry"
	"cloakroom/keys"
)

// slice is a range of time of one partition, claimed for one transaction.
type slice struct {
	Dataset string    `db:"dataset"`
	Part    time.Time `db:"part"` // first day of the partition, or the month of the data keys
	Slice   int       `db:"slice"`
	After   position  `db:"after"`
	Last    string    `db:"last_sent"` // where the slice ends, not included
}

// position is the key of a row: its time, as Postgres prints it, for it may be infinite, and its id.
type position struct {
	Sent string    `db:"after_sent"`
	ID   uuid.UUID `db:"after_id"`
}

func positionOf(r *keys.Row) position { return position{r.Sent.UTC().Format(time.RFC3339Nano), r.ID} }

// batch is what a worker did with one page of a slice.
type batch struct {
	read    int      // rows looked at
	changed int      // rows written
	after   position // the last row
	done    bool     // nothing is left in the slice
	took    time.Duration
}

// worker does one pass, a page at a time, in a transaction that it is given. Not for concurrent
// use.
type worker interface {
	batch(ctx context.Context, s session, at slice) (batch, error)
}

// pass runs workers until all slices of a pass are done, by this run or by other rotators. It
// returns how many rows this run changed.
func (j *job) pass(ctx context.Context, rotation int64, name string, newWorker func() worker) (int64, error) {
	var changed, read atomic.Int64
	var ahead int64
	err := j.call(ctx, "estimating the work ("+name+")", func(s session) error {
		return s.get(ctx, &ahead, `SELECT cloakroom.pass_rows($1, $2)`, rotation, name)
	})
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for range j.o.Workers {
		group.Go(func() error {
			w := newWorker()
			for {
				b, ok, err := j.claim(ctx, rotation, name, w)
				if err != nil || !ok {
					return err
				}
				changed.Add(int64(b.changed))
				j.o.Progress(Progress{Step: name, Done: read.Add(int64(b.read)), Rows: ahead})
				if err := j.throttle.wait(ctx, b.read, b.took); err != nil {
					return err
				}
			}
		})
	}
	err = group.Wait()
	return changed.Load(), err
}

// claim does one batch. It waits while other rotators hold all slices that are left, and reports
// false if none is left.
func (j *job) claim(ctx context.Context, rotation int64, name string, w worker) (batch, bool, error) {
	for {
		var b batch
		var claimed bool
		var began time.Time
		err := j.tx(ctx, "working on a slice ("+name+")", func(s session) error {
			began = time.Now()
			var at slice
			var err error
			claimed, err = found(s.get(ctx, &at, `
				SELECT dataset, part, slice, after_sent::text AS "after.after_sent", after_id AS "after.after_id",
				       last_sent::text AS last_sent
				  FROM cloakroom.claim_slice($1, $2)`, rotation, name))
			if err != nil || !claimed {
				return err
			}
			if b, err = w.batch(ctx, s, at); err != nil {
				return err
			}
			if b.read == 0 {
				b.after = at.After
			}
			return s.exec(ctx, `SELECT cloakroom.advance_slice($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
				rotation, name, at.Dataset, day(at.Part), at.Slice, b.after.Sent, b.after.ID, b.done, b.changed)
		})
		if err != nil || claimed {
			b.took = time.Since(began)
			return b, claimed, err
		}
		left, _, err := j.left(ctx, rotation, name)
		if err != nil || left == 0 {
			return batch{}, false, err
		}
		// Other rotators' transactions hold what is left. If one of them dies, the slice is free
		// again.
		if err := retry.Sleep(ctx, 100*time.Millisecond); err != nil {
			return batch{}, false, err
		}
	}
}

func (j *job) left(ctx context.Context, rotation int64, name string) (slices, rows int64, err error) {
	var p struct {
		Slices int64 `db:"slices_left"`
		Rows   int64 `db:"rows_done"`
	}
	err = j.call(ctx, "looking for slices", func(s session) error {
		return s.get(ctx, &p, `SELECT * FROM cloakroom.pass_progress($1, $2)`, rotation, name)
	})
	return p.Slices, p.Rows, err
}

// maxIdle is how many passes in a row may change nothing although rows are left: then an operator
// has to look.
const maxIdle = 3

// leftError says that rows are left and passes do not change them: other transactions hold them, or
// they do not open.
type leftError struct{ rows int64 }

func (e *leftError) Error() string {
	return fmt.Sprintf("%d rows are left that another transaction holds: %v: run it again when that has ended",
		e.rows, keys.ErrUnfinished)
}

func (e *leftError) Unwrap() error { return keys.ErrUnfinished }

// quarantine reports the rows that a step quarantined. If there are any, they are why rows are
// left.
func (j *job) quarantine(ctx context.Context, step string, r *Report, err error) error {
	var left *leftError
	if !errors.As(err, &left) {
		return err
	}
	list, listErr := j.quarantined(ctx, step)
	if r.Quarantined = append(r.Quarantined, list...); len(list) > 0 {
		err = fmt.Errorf("%d rows are left: %w", left.rows, keys.ErrQuarantined)
	}
	return errors.Join(err, listErr)
}

// complete runs passes until count says that no row is left. One pass may leave rows: another
// transaction held or changed them, or they were added behind its watermark.
func (j *job) complete(
	ctx context.Context, rotation int64, names []string,
	newWorker func(name string) worker, count func() (left int64, err error),
) (changed map[string]int64, err error) {
	changed = map[string]int64{}
	for idle := 0; ; {
		var progress int64
		for _, name := range names {
			n, err := j.pass(ctx, rotation, name, func() worker { return newWorker(name) })
			changed[name] += n
			progress += n
			if err != nil {
				return changed, err
			}
		}
		left, err := count()
		if err != nil || left == 0 {
			return changed, err
		}
		idle++
		if progress > 0 {
			idle = 0
		}
		if idle == maxIdle {
			return changed, &leftError{left}
		}
		// Another rotator may be changing the rows that are left.
		if err := retry.Sleep(ctx, time.Duration(idle)*100*time.Millisecond); err != nil {
			return changed, err
		}
		for _, name := range names {
			err := j.call(ctx, "beginning another pass", func(s session) error {
				return s.exec(ctx, `SELECT cloakroom.restart_pass($1, $2)`, rotation, name)
			})
			if err != nil {
				return changed, err
			}
		}
	}
}

func day(t time.Time) string { return t.Format(time.DateOnly) }
