package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
)

// plan fills a report with what Rotate would do. It changes nothing.
func (j *job) plan(ctx context.Context, due due, r *Report) error {
	p, err := j.planReseal(ctx, due, r)
	if err != nil {
		return err
	}
	r.MonthsMade = p.Months
	if err := j.vault.DB.GetContext(ctx, &r.Purged, `SELECT cloakroom.old_rejections()`); err != nil {
		return fmt.Errorf("counting old rejections: %w", pg.Redact(err))
	}
	list, err := j.vault.DataKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range list {
		if k.State == "retired" && k.RetiredAt != nil && k.RetiredAt.Before(due.Now.AddDate(0, 0, -retiredDays)) {
			r.Shredded = append(r.Shredded, k.ID)
		}
	}
	if due.KEK != nil {
		if err := j.rewrap(ctx, *due.KEK, r); err != nil {
			return err
		}
	}
	reindex, err := j.reindexIsDue(ctx, due.IndexKeys)
	if err != nil || !reindex {
		return err
	}
	return j.planReindex(ctx, r)
}

// rotationPlan is what there would be to do.
type rotationPlan struct {
	Months     int           `db:"months"`
	Closing    pq.Int32Array `db:"closing"`
	Due        pq.Int32Array `db:"due"`
	Logins     int64         `db:"logins"`
	Rejections int64         `db:"rejections"`
	Sealed     int64         `db:"sealed"` // rows in all
}

func (j *job) readPlan(ctx context.Context, madeBefore time.Time) (p rotationPlan, err error) {
	if err := j.vault.DB.GetContext(ctx, &p, `SELECT * FROM cloakroom.rotation_plan($1)`, madeBefore); err != nil {
		return p, fmt.Errorf("looking what there is to do: %w", pg.Redact(err))
	}
	return p, nil
}

// planReseal fills a report with what Reseal would do. It changes nothing.
func (j *job) planReseal(ctx context.Context, due due, r *Report) (rotationPlan, error) {
	p, err := j.readPlan(ctx, due.DataKeys)
	r.Closed, r.Due, r.Resealed, r.Rejections = ids(p.Closing), ids(p.Due), p.Logins, p.Rejections
	return p, err
}

// planRetire fills a report with what Retire would do. It changes nothing.
func (j *job) planRetire(ctx context.Context, madeBefore time.Time, r *Report) error {
	list, err := j.vault.DataKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range list {
		if k.State == "active" && k.CreatedAt.Before(madeBefore) {
			r.Closed = append(r.Closed, k.ID)
		}
	}
	var held []struct {
		DataKey    uint32 `db:"data_key"`
		Logins     int64  `db:"logins"`
		Rejections int64  `db:"rejections"`
	}
	if err := j.vault.DB.SelectContext(ctx, &held, `SELECT * FROM cloakroom.retirable_data_keys() ORDER BY 1`); err != nil {
		return fmt.Errorf("counting what closed data keys hold: %w", pg.Redact(err))
	}
	for _, k := range held {
		if k.Logins+k.Rejections == 0 {
			r.Retired = append(r.Retired, k.DataKey)
		} else {
			r.Kept = append(r.Kept, k.DataKey)
		}
	}
	return nil
}
