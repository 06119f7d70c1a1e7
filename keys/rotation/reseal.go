package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// Reseal closes the data keys that are due (by the policy, or all with Options.Force), of Options.Dataset or of all
// datasets, reseals what closed keys hold, and retires those that hold nothing. Its errors are those of Rotate.
func Reseal(ctx context.Context, v *keys.Vault, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error {
		due, err := j.due(ctx)
		if err != nil {
			return err
		}
		if o.DryRun {
			_, err := j.planReseal(ctx, due, r)
			return err
		}
		return j.resealDue(ctx, due.DataKeys, r)
	})
}

// resealDue closes the data keys that are due, reseals what closed keys hold, and retires those
// that hold nothing.
func (j *job) resealDue(ctx context.Context, due time.Time, r *Report) error {
	if err := j.closeKeys(ctx, due, r); err != nil {
		return err
	}
	// Retire before and after: keys that hold nothing already need no pass over the rows.
	if err := j.retire(ctx, r); err != nil {
		return err
	}
	if err := j.reseal(ctx, due, r); err != nil {
		return err
	}
	return j.retire(ctx, r)
}

// reseal moves the values of closed data keys made before a time to new data keys, or resumes an
// interrupted reseal.
func (j *job) reseal(ctx context.Context, madeBefore time.Time, report *Report) error {
	var begun struct {
		Rotation *int64        `db:"rotation"`
		DataKeys pq.Int32Array `db:"data_keys"`
		Resumed  *bool         `db:"resumed"`
	}
	err := j.call(ctx, "beginning to reseal", func(s session) error {
		return s.get(ctx, &begun, `SELECT * FROM cloakroom.begin_reseal($1, nullif($2, ''))`, madeBefore, j.o.Dataset)
	})
	if err != nil || begun.Rotation == nil {
		return err
	}
	report.Due = ids(begun.DataKeys)
	newWorker := func(name string) worker {
		if name == "rejections" {
			return &rejectionResealer{job: j, rotation: *begun.Rotation}
		}
		return newResealer(j, *begun.Rotation)
	}
	passes := []string{"reseal", "rejections"}
	changed, err := j.complete(ctx, *begun.Rotation, passes, newWorker, func() (int64, error) {
		var left int64
		err := j.tx(ctx, "counting what is left to reseal", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.finish_reseal($1)`, *begun.Rotation)
		})
		return left, err
	})
	report.Resealed += changed["reseal"]
	report.Rejections += changed["rejections"]
	return j.quarantine(ctx, "reseal", report, err)
}

// rotationPlan is what resealing the keys made before a time would do.
type rotationPlan struct {
	Partitions int           `db:"partitions"`
	Closing    pq.Int32Array `db:"closing"`
	Due        pq.Int32Array `db:"due"`
	Rows       int64         `db:"rows"`
	Rejections int64         `db:"rejections"`
	Sealed     int64         `db:"sealed"` // sealed rows, whatever their key
}

func (j *job) readPlan(ctx context.Context, madeBefore time.Time) (p rotationPlan, err error) {
	if err := j.vault.DB.GetContext(ctx, &p, `SELECT * FROM cloakroom.rotation_plan($1)`, madeBefore); err != nil {
		return p, fmt.Errorf("planning the rotation: %w", pg.Redact(err))
	}
	return p, nil
}

// planReseal reports what Reseal would do.
func (j *job) planReseal(ctx context.Context, due due, r *Report) (rotationPlan, error) {
	p, err := j.readPlan(ctx, due.DataKeys)
	r.Closed, r.Due, r.Resealed, r.Rejections = ids(p.Closing), ids(p.Due), p.Rows, p.Rejections
	if err != nil {
		return p, err
	}
	if r.Unfinished, err = ListUnfinished(ctx, j.vault); err != nil {
		return p, err
	}
	for _, u := range r.Unfinished {
		if u.Step == "reseal" {
			return p, j.planResume(ctx, u, r)
		}
	}
	return p, nil
}

// planResume corrects a plan after an interrupted reseal. The next run finishes that one, whose
// keys are closed already, and leaves other keys that are due to the run after it.
func (j *job) planResume(ctx context.Context, u Unfinished, r *Report) error {
	held, err := j.heldByClosedKeys(ctx)
	if err != nil {
		return err
	}
	r.Due, r.Resealed, r.Rejections = u.DataKeys, 0, 0
	for _, k := range held {
		if slices.Contains(u.DataKeys, k.DataKey) {
			r.Resealed += k.Rows
			r.Rejections += k.Rejections
		}
	}
	return nil
}
