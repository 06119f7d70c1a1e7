package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// Unfinished is a step that began and did not end. Run it again, or run keys rotate, to finish it.
type Unfinished struct {
	Step      string    `json:"step"` // reseal, reindex, shred, forget, evolve
	Phase     string    `json:"phase"`
	Dataset   string    `json:"dataset,omitempty"` // empty: it is about all
	DataKeys  []uint32  `json:"data_keys"`
	StartedBy string    `json:"started_by"`
	StartedAt time.Time `json:"started_at"`
	Rows      int64     `json:"rows"` // left in its present pass, estimated; 0: unknown
}

// ListUnfinished lists the steps that are running or were interrupted. It estimates what is left
// from a sample.
func ListUnfinished(ctx context.Context, v *keys.Vault) ([]Unfinished, error) {
	list := []Unfinished{}
	for _, step := range []string{"reseal", "reindex", "shred", "forget", "evolve"} {
		var found []struct {
			ID        int64         `db:"id"`
			Phase     string        `db:"phase"`
			Dataset   string        `db:"dataset"`
			DataKeys  pq.Int32Array `db:"data_keys"`
			StartedBy string        `db:"started_by"`
			StartedAt time.Time     `db:"started_at"`
		}
		err := v.DB.SelectContext(ctx, &found, `
			SELECT id, phase, coalesce(dataset, '') AS dataset, data_keys, started_by, started_at
			  FROM cloakroom.rotation_running($1)`, step)
		if err != nil {
			return nil, fmt.Errorf("looking for unfinished steps: %w", pg.Redact(err))
		}
		for _, r := range found {
			u := Unfinished{Step: step, Phase: r.Phase, Dataset: r.Dataset, DataKeys: ids(r.DataKeys), StartedBy: r.StartedBy,
				StartedAt: r.StartedAt}
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
	case step == "evolve":
		return []string{"evolve"}
	case step == "shred":
		return []string{"clear"}
	case phase == "backfill", phase == "check":
		return []string{phase}
	}
	return nil
}
