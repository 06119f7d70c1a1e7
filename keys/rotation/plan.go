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

// planResume corrects a plan where a reseal was interrupted: that one is finished first, and its keys are closed already.
// Keys that are due beside them are left to the run after it.
func (j *job) planResume(ctx context.Context, u Unfinished, r *Report) error {
	held, err := j.heldByClosedKeys(ctx)
	if err != nil {
		return err
	}
	r.Due, r.Resealed, r.Rejections = u.DataKeys, 0, 0
	for _, k := range held {
		if slices.Contains(u.DataKeys, k.DataKey) {
			r.Resealed += k.Logins
			r.Rejections += k.Rejections
		}
	}
	return nil
}

// Unfinished is a step that began and did not end. Running the step again, or keys rotate, finishes it.
type Unfinished struct {
	Step      string    `json:"step"` // reseal, reindex, shred
	Phase     string    `json:"phase"`
	DataKeys  []uint32  `json:"data_keys"`
	StartedBy string    `json:"started_by"`
	StartedAt time.Time `json:"started_at"`
	Rows      int64     `json:"rows"` // left in its present pass, about; 0: not known
}

// ListUnfinished lists the steps under way, or interrupted. It estimates what is left from a sample.
func ListUnfinished(ctx context.Context, v *keys.Vault) ([]Unfinished, error) {
	list := []Unfinished{}
	for _, step := range []string{"reseal", "reindex", "shred", "forget"} {
		var found []struct {
			ID        int64         `db:"id"`
			Phase     string        `db:"phase"`
			DataKeys  pq.Int32Array `db:"data_keys"`
			StartedBy string        `db:"started_by"`
			StartedAt time.Time     `db:"started_at"`
		}
		err := v.DB.SelectContext(ctx, &found, `SELECT id, phase, data_keys, started_by, started_at FROM cloakroom.rotation_running($1)`, step)
		if err != nil {
			return nil, fmt.Errorf("looking for unfinished jobs: %w", pg.Redact(err))
		}
		for _, r := range found {
			u := Unfinished{Step: step, Phase: r.Phase, DataKeys: ids(r.DataKeys), StartedBy: r.StartedBy, StartedAt: r.StartedAt}
			for _, pass := range passesOf(step, r.Phase) {
				var rows int64
				if err := v.DB.GetContext(ctx, &rows, `SELECT cloakroom.pass_rows($1, $2)`, r.ID, pass); err != nil {
					return nil, fmt.Errorf("estimating the rows left: %w", pg.Redact(err))
				}
				u.Rows += rows
			}
			list = append(list, u)
		}
	}
	return list, nil
}

// passesOf are the passes over rows that a step makes in a phase.
func passesOf(step, phase string) []string {
	switch {
	case step == "reseal":
		return []string{"reseal", "rejections"}
	case step == "shred":
		return []string{"clear"}
	case phase == "backfill", phase == "check":
		return []string{phase}
	}
	return nil
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
	held, err := j.heldByClosedKeys(ctx)
	if err != nil {
		return err
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

// heldKey is what a closed data key still holds.
type heldKey struct {
	DataKey    uint32 `db:"data_key"`
	Logins     int64  `db:"logins"`
	Rejections int64  `db:"rejections"`
}

func (j *job) heldByClosedKeys(ctx context.Context) ([]heldKey, error) {
	var held []heldKey
	if err := j.vault.DB.SelectContext(ctx, &held, `SELECT * FROM cloakroom.retirable_data_keys() ORDER BY 1`); err != nil {
		return nil, fmt.Errorf("counting what closed data keys hold: %w", pg.Redact(err))
	}
	return held, nil
}
