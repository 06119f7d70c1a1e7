package rotation

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// ShredMonth is what shredding makes unreadable in one month of a dataset.
type ShredMonth struct {
	Dataset    string   `json:"dataset"`
	Month      string   `json:"month"`
	Rows       int64    `json:"rows"`
	Rejections int64    `json:"rejections"`
	DataKeys   []uint32 `json:"data_keys"`
}

// PlanShred reports what Shred would make unreadable, of a dataset or, with no name, of all. It changes nothing.
func PlanShred(ctx context.Context, v *keys.Vault, dataset string, before time.Time) ([]ShredMonth, error) {
	var rows []struct {
		Dataset    string        `db:"dataset"`
		Month      time.Time     `db:"month"`
		Rows       int64         `db:"rows"`
		Rejections int64         `db:"rejections"`
		DataKeys   pq.Int32Array `db:"data_keys"`
	}
	err := v.DB.SelectContext(ctx, &rows, `SELECT * FROM cloakroom.shred_plan($1, nullif($2, ''))`, day(before), dataset)
	if err != nil {
		return nil, fmt.Errorf("planning the shred: %w", pg.Redact(err))
	}
	plan := []ShredMonth{}
	for _, m := range rows {
		if m.Rows+m.Rejections > 0 || len(m.DataKeys) > 0 {
			plan = append(plan, ShredMonth{m.Dataset, m.Month.Format("2006-01"), m.Rows, m.Rejections, ids(m.DataKeys)})
		}
	}
	return plan, nil
}

// Shred destroys the data keys of all months before a month, then clears what they sealed and its tokens. The keys are gone
// with its first statement, so it cannot be undone. If it is interrupted, the next run goes on.
func Shred(ctx context.Context, v *keys.Vault, before time.Time, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error {
		due, err := j.toShred(ctx, before)
		if err != nil {
			return err
		}
		for {
			resumed, err := j.running(ctx, "shred")
			if err != nil {
				return err
			}
			began, shredErr := j.shred(ctx, before, r)
			left, err := j.toShred(ctx, before)
			// Report what is gone now, whichever run shredded it: another may share the work.
			for _, id := range due {
				if err == nil && !slices.Contains(left, id) {
					r.Shredded = append(r.Shredded, id)
				}
			}
			// An interrupted shred is finished first. It may be of fewer months, and does not know
			// keys made since for late events.
			again := len(left) > 0 && (resumed || began.Before(before))
			if shredErr != nil || err != nil || !again {
				return errors.Join(shredErr, err)
			}
			due = left
		}
	})
}

// toShred lists the data keys of the months before one that are not shredded yet.
func (j *job) toShred(ctx context.Context, before time.Time) ([]uint32, error) {
	list, err := j.vault.DataKeys(ctx)
	var left []uint32
	for _, k := range list {
		if k.Month.Before(before) && k.State != "shredded" && (j.o.Dataset == "" || k.Dataset == j.o.Dataset) {
			left = append(left, k.ID)
		}
	}
	return left, err
}

// shred begins a shred, or resumes an interrupted one, and finishes it. It returns the first month
// that it kept.
func (j *job) shred(ctx context.Context, before time.Time, r *Report) (time.Time, error) {
	var begun struct {
		Rotation int64     `db:"rotation"`
		Before   time.Time `db:"before"`
	}
	err := j.tx(ctx, "shredding keys", func(s session) error {
		return s.get(ctx, &begun, `SELECT * FROM cloakroom.begin_shred($1, nullif($2, ''))`, day(before), j.o.Dataset)
	})
	if err != nil {
		return time.Time{}, err
	}
	newWorker := func(string) worker { return &clearer{job: j, rotation: begun.Rotation} }
	changed, err := j.complete(ctx, begun.Rotation, []string{"clear"}, newWorker, func() (int64, error) {
		if err := j.clearRejections(ctx, begun.Rotation, r); err != nil {
			return 0, err
		}
		var left int64
		err := j.tx(ctx, "counting what is left to clear", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.finish_shred($1)`, begun.Rotation)
		})
		return left, err
	})
	r.Cleared += changed["clear"]
	if err == nil {
		err = j.renewStatistics(ctx)
	}
	return begun.Before, err
}

func (j *job) clearRejections(ctx context.Context, rotation int64, r *Report) error {
	for {
		var n int64
		err := j.call(ctx, "clearing rejections", func(s session) error {
			return s.get(ctx, &n, `SELECT cloakroom.clear_rejections($1, $2)`, rotation, j.o.BatchRows)
		})
		if err != nil || n == 0 {
			return err
		}
		r.ClearedRejections += n
	}
}

// clearer clears the rows of shredded months.
type clearer struct {
	*job
	rotation int64
}

func (w *clearer) batch(ctx context.Context, s session, at slice) (batch, error) {
	var page struct {
		Changed int            `db:"changed"`
		Sent    sql.NullString `db:"after_sent"`
		ID      uuid.NullUUID  `db:"after_id"`
	}
	if err := s.get(ctx, &page, `
		SELECT changed, after_sent::text AS after_sent, after_id FROM cloakroom.clear_page($1, $2, $3, $4, $5, $6, $7)`,
		w.rotation, at.Dataset, day(at.Part), at.After.Sent, at.After.ID, at.Last, w.o.BatchRows); err != nil {
		return batch{}, err
	}
	if !page.ID.Valid {
		return batch{done: true}, nil
	}
	return batch{
		read: page.Changed, changed: page.Changed, after: position{page.Sent.String, page.ID.UUID},
		done: page.Changed < w.o.BatchRows,
	}, nil
}
