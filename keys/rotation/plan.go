package rotation

import (
	"context"
	"fmt"
	"time"

	"cloakroom/internal/pg"
)

// plan fills a report with what Rotate would do. It changes nothing.
func (j *job) plan(ctx context.Context, due due, r *Report) error {
	list, err := j.vault.DataKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range list {
		if !k.CreatedAt.Before(due.DataKeys) {
			continue
		}
		switch k.State {
		case "active":
			r.Closed = append(r.Closed, k.ID)
			r.Due = append(r.Due, k.ID)
		case "closed":
			r.Due = append(r.Due, k.ID)
		}
	}
	if err := j.vault.DB.GetContext(ctx, &r.Purged, `SELECT cloakroom.old_rejections()`); err != nil {
		return fmt.Errorf("counting old rejections: %w", pg.Redact(err))
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
