package rotation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/verify"
)

// Rotate does what the vault's policy says is due, in this order, and nothing where nothing is: it makes the months ahead,
// purges old rejections, rewraps under the wanted KEK, closes and reseals old data keys, retires those that nothing refers
// to, and reindexes under a new index key when the live one is old. With Options.Force all data keys are due. What an
// earlier run left unfinished is finished first. In the end it verifies a sample.
//
// Errors: keys.ErrQuarantined where rows do not open, keys.ErrUnfinished where it should be run again, those of package
// kek, or the database's. The report is true in any case.
func Rotate(ctx context.Context, v *keys.Vault, d *dataset.Dataset, o Options) (Report, error) {
	return run(ctx, v, d, o, func(j *job, r *Report) error {
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
		if due.KEK != nil {
			if err := j.rewrap(ctx, *due.KEK, r); err != nil {
				return err
			}
		}
		if err := j.resealDue(ctx, due.DataKeys, r); err != nil {
			return err
		}
		if err := j.reindexDue(ctx, due.IndexKeys, r); err != nil {
			return err
		}
		r.Verified, err = verify.Run(ctx, v, d, verify.Options{})
		return err
	})
}

// Reseal closes the data keys that are due, by the policy or with Options.Force all, reseals what closed keys hold, and
// retires those that hold nothing. Errors: as of Rotate.
func Reseal(ctx context.Context, v *keys.Vault, d *dataset.Dataset, o Options) (Report, error) {
	return run(ctx, v, d, o, func(j *job, r *Report) error {
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

// inUse is how long a data key may be in a daemon's hands, with a margin: its cap is an hour.
const inUse = 2 * time.Hour

// Retire closes the data keys that no daemon seals with any more and retires the closed ones that nothing refers to.
func Retire(ctx context.Context, v *keys.Vault, d *dataset.Dataset, o Options) (Report, error) {
	return run(ctx, v, d, o, func(j *job, r *Report) error {
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

// due are the times before which keys were made that are due now, by the policy and the database's clock.
type due struct {
	DataKeys  time.Time `db:"data_keys"`
	IndexKeys time.Time `db:"index_keys"`
	Now       time.Time `db:"now"`
	KEK       *string   `db:"kek"` // under which every key is wanted; nil: whichever they are under
}

// due compares clocks first: a run whose clocks differ closes, purges and shreds nothing.
func (j *job) due(ctx context.Context) (due, error) {
	var d due
	if err := j.call(ctx, "comparing clocks", func(session) error { return j.vault.CompareClocks(ctx) }); err != nil {
		return d, err
	}
	err := j.call(ctx, "reading what is due", func(s session) error {
		return s.get(ctx, &d, `SELECT d.*, p.kek FROM cloakroom.keys_made_before() AS d, cloakroom.policy() AS p`)
	})
	if j.o.Force {
		d.DataKeys = d.Now
	}
	return d, err
}

// retiredDays is how long a retired data key's wrapped bytes are kept, for backups that are restored.
const retiredDays = 35

// housekeeping makes the months ahead, purges old rejections and destroys data keys that were retired long ago.
func (j *job) housekeeping(ctx context.Context, r *Report) error {
	err := j.call(ctx, "making the months ahead", func(s session) error {
		return s.get(ctx, &r.MonthsMade, `SELECT cloakroom.make_months_ahead()`)
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
	return err
}

// resealDue closes the data keys that are due, reseals what closed keys hold, and retires those that hold nothing.
func (j *job) resealDue(ctx context.Context, due time.Time, r *Report) error {
	if err := j.closeKeys(ctx, due, r); err != nil {
		return err
	}
	// Keys that hold nothing need no pass over the rows.
	if err := j.retire(ctx, r); err != nil {
		return err
	}
	if err := j.reseal(ctx, due, r); err != nil {
		return err
	}
	return j.retire(ctx, r)
}

// reindexDue reindexes if the live index key is older than the policy allows, and finishes a reindex under way.
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

func (j *job) closeKeys(ctx context.Context, madeBefore time.Time, r *Report) error {
	var closed pq.Int32Array
	err := j.tx(ctx, "closing data keys", func(s session) error {
		return s.get(ctx, &closed, `SELECT cloakroom.close_data_keys($1)`, madeBefore)
	})
	if err != nil {
		return err
	}
	r.Closed = append(r.Closed, ids(closed)...)
	return j.refresh(ctx)
}

// retire retires the closed data keys that nothing refers to.
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

// run is the frame of every step: a job, a report, a time.
func run(ctx context.Context, v *keys.Vault, d *dataset.Dataset, o Options, f func(*job, *Report) error) (Report, error) {
	began := time.Now()
	r := Report{DryRun: o.DryRun}
	j, err := newJob(ctx, v, d, o)
	if err != nil {
		return r, err
	}
	defer j.close()
	err = f(j, &r)
	r.NewKeys = slices.Sorted(maps.Keys(j.newKeys))
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		return r, fmt.Errorf("rotating: %w", err)
	}
	return r, nil
}
