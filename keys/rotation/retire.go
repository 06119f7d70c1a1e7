package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// inUse is how long a daemon may seal with a data key (its cap is one hour), and a margin.
const inUse = 2 * time.Hour

// Retire closes the data keys that no daemon seals with any more, and retires the closed keys that hold nothing.
func Retire(ctx context.Context, v *keys.Vault, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error {
		due, err := j.due(ctx)
		if err != nil {
			return err
		}
		if o.DryRun {
			return j.planRetire(ctx, due.Now.Add(-inUse), r)
		}
		if err := j.closeKeys(ctx, due.Now.Add(-inUse), r); err != nil {
			return err
		}
		return j.retire(ctx, r)
	})
}

// closeKeys closes the active data keys made before a time. That raises the epoch: daemons drop the
// keys they hold.
func (j *job) closeKeys(ctx context.Context, madeBefore time.Time, r *Report) error {
	var closed pq.Int32Array
	err := j.tx(ctx, "closing data keys", func(s session) error {
		return s.get(ctx, &closed, `SELECT cloakroom.close_data_keys($1, nullif($2, ''))`, madeBefore, j.o.Dataset)
	})
	if err != nil {
		return err
	}
	r.Closed = append(r.Closed, ids(closed)...)
	return j.refresh(ctx)
}

// retire retires the closed data keys that hold nothing: a count says so, with a snapshot later
// than the closing epoch.
func (j *job) retire(ctx context.Context, r *Report) error {
	var out struct {
		Retired pq.Int32Array `db:"retired"`
		Kept    pq.Int32Array `db:"kept"`
	}
	err := j.tx(ctx, "retiring data keys", func(s session) error {
		return s.get(ctx, &out, `SELECT * FROM cloakroom.retire_data_keys()`)
	})
	if err != nil {
		return err
	}
	r.Retired = append(r.Retired, ids(out.Retired)...)
	r.Kept = ids(out.Kept)
	return nil
}

// planRetire reports what Retire would do.
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
		if k.Rows+k.Rejections == 0 {
			r.Retired = append(r.Retired, k.DataKey)
		} else {
			r.Kept = append(r.Kept, k.DataKey)
		}
	}
	return nil
}

// heldKey is what a closed data key still holds: rows and rejections sealed under it.
type heldKey struct {
	DataKey    uint32 `db:"data_key"`
	Rows       int64  `db:"rows"`
	Rejections int64  `db:"rejections"`
}

func (j *job) heldByClosedKeys(ctx context.Context) ([]heldKey, error) {
	var held []heldKey
	if err := j.vault.DB.SelectContext(ctx, &held,
		`SELECT * FROM cloakroom.retirable_data_keys() ORDER BY 1`); err != nil {
		return nil, fmt.Errorf("counting what closed data keys hold: %w", pg.Redact(err))
	}
	return held, nil
}
