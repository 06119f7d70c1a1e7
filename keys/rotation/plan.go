package rotation

import (
	"context"
	"fmt"

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
