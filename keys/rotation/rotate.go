package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/verify"
)

// Rotate does what the vault's policy says is due, in this order: it makes the partitions ahead, purges old rejections,
// rewraps under the wanted KEK, finishes the change of a dataset, closes and reseals old data keys, retires those that
// hold nothing, reindexes if the live index key is old, and measures what indexes give away that were not measured for a
// month. It first finishes what an earlier run left unfinished, and at its end verifies a sample.
//
// It returns keys.ErrQuarantined if rows do not open, keys.ErrGivesAway if the change of a dataset waits for a person,
// keys.ErrUnfinished if it has to be run again, an error of package kek, or the database's. The report is true in any
// case.
func Rotate(ctx context.Context, v *keys.Vault, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error {
		due, err := j.due(ctx)
		if err != nil {
			return err
		}
		if o.DryRun {
			return j.plan(ctx, due, r)
		}
		if err := j.housekeeping(ctx, r); err != nil {
			return err
		}
		// What does not open is left as it is and named at the end. Everything else goes on: else who may plant one bad
		// key or row would end all rotation.
		var damage error
		goOn := func(err error) error {
			if errors.Is(err, keys.ErrQuarantined) {
				damage = errors.Join(damage, err)
				return nil
			}
			return err
		}
		if due.KEK != nil {
			if err := goOn(j.rewrap(ctx, *due.KEK, r)); err != nil {
				return err
			}
		}
		// An index that a person has to decide on, or rows that do not open, keep nothing waiting but a reindex.
		waits := j.evolve(ctx, r)
		if waits != nil && !errors.Is(waits, keys.ErrGivesAway) && !errors.Is(waits, keys.ErrQuarantined) {
			return waits
		}
		damage = errors.Join(damage, waits)
		if err := goOn(j.resealDue(ctx, due.DataKeys, r)); err != nil {
			return errors.Join(damage, err)
		}
		if waits == nil {
			if err := goOn(j.reindexDue(ctx, due.IndexKeys, r)); err != nil {
				return errors.Join(damage, err)
			}
		}
		if err := j.measure(ctx, r); err != nil {
			return errors.Join(damage, err)
		}
		r.Verified, err = verify.Run(ctx, v, verify.Options{})
		return errors.Join(damage, err)
	})
}

// due says which keys are due now: those made before a time, by the policy and the database's
// clock.
type due struct {
	DataKeys  time.Time `db:"data_keys"`
	IndexKeys time.Time `db:"index_keys"`
	Now       time.Time `db:"now"`
	KEK       *string   `db:"kek"` // under which every key should be; nil: any
}

// due compares clocks first: with a wrong clock nothing may be closed, purged or shredded.
func (j *job) due(ctx context.Context) (due, error) {
	var d due
	if err := j.call(ctx, "comparing clocks", func(session) error { return j.vault.CompareClocks(ctx) }); err != nil {
		return d, err
	}
	err := j.call(ctx, "reading which keys are due", func(s session) error {
		return s.get(ctx, &d, `SELECT d.*, p.kek FROM cloakroom.keys_made_before() AS d, cloakroom.policy() AS p`)
	})
	if j.o.Force {
		d.DataKeys = d.Now
	}
	return d, err
}

// retiredDays is how long a retired data key's wrapped bytes are kept: a backup younger than that
// can still be restored.
const retiredDays = 35

// housekeeping makes the partitions ahead, purges old rejections and destroys data keys that were retired long ago.
func (j *job) housekeeping(ctx context.Context, r *Report) error {
	err := j.call(ctx, "making the partitions ahead", func(s session) error {
		return s.get(ctx, &r.PartitionsMade, `SELECT cloakroom.make_partitions_ahead()`)
	})
	if err != nil {
		return err
	}
	for more := true; more; {
		var purged int64
		err := j.call(ctx, "purging old rejections", func(s session) error {
			return s.get(ctx, &purged, `SELECT cloakroom.purge_rejections($1)`, j.vault.Now())
		})
		if err != nil {
			return err
		}
		r.Purged += purged
		more = purged > 0
	}
	var shredded pq.Int32Array
	err = j.tx(ctx, "shredding keys retired long ago", func(s session) error {
		return s.get(ctx, &shredded, `SELECT cloakroom.shred_retired(make_interval(days => $1))`, retiredDays)
	})
	r.Shredded = append(r.Shredded, ids(shredded)...)
	if err != nil {
		return err
	}
	return j.tx(ctx, "purging what rewraps replaced", func(s session) error {
		return s.exec(ctx, `SELECT cloakroom.purge_replaced_keys()`)
	})
}

// reindexDue reindexes if the live index key is older than the policy allows, or if a reindex was
// interrupted.
func (j *job) reindexDue(ctx context.Context, madeBefore time.Time, r *Report) error {
	due, err := j.reindexIsDue(ctx, madeBefore)
	if err != nil || !due {
		return err
	}
	return j.reindex(ctx, r)
}

func (j *job) reindexIsDue(ctx context.Context, madeBefore time.Time) (bool, error) {
	running, err := j.running(ctx, "reindex")
	if err != nil || running {
		return running, err
	}
	list, err := j.vault.IndexKeyList(ctx)
	old := false
	for _, k := range list {
		if k.State == "live" {
			old = k.CreatedAt.Before(madeBefore) // the newest live one counts, which is the last
		}
	}
	return old, err
}

// plan reports what Rotate would do.
func (j *job) plan(ctx context.Context, due due, r *Report) error {
	p, err := j.planReseal(ctx, due, r)
	if err != nil {
		return err
	}
	r.PartitionsMade = p.Partitions
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
