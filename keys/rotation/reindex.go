package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/retry"
	"cloakroom/keys"
)

// Reindexed is what a reindex did.
type Reindexed struct {
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	Rows int64  `json:"rows"` // tokens were made for, by this run
}

// Reindex makes a new index key and moves every token to it, or resumes an interrupted reindex.
// Analysts see old tokens until every row has a new one; then one statement changes the view over.
//
// Its errors are those of Rotate. An old transaction that delays the change of the view gives keys.ErrUnfinished.
func Reindex(ctx context.Context, v *keys.Vault, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error {
		if o.DryRun {
			return j.planReindex(ctx, r)
		}
		return j.reindex(ctx, r)
	})
}

// reindexState is how far a reindex has come.
type reindexState struct {
	Phase string `db:"phase"`
	State string `db:"state"`
	To    uint32 `db:"version"`
	From  uint32 `db:"old_version"`
}

func (j *job) reindex(ctx context.Context, r *Report) error {
	running, err := j.running(ctx, "reindex")
	if err != nil {
		return err
	}
	// The KEK is called here, outside any transaction: a slow KMS must hold no lock.
	if !running {
		if _, err := j.vault.PendingIndexKey(ctx, j.settings); err != nil {
			return err
		}
	}
	var rotation int64
	err = j.call(ctx, "beginning to reindex", func(s session) error {
		return s.get(ctx, &rotation, `SELECT cloakroom.begin_reindex()`)
	})
	if err != nil {
		return err
	}
	r.Reindexed = &Reindexed{}
	for {
		var at reindexState
		err := j.call(ctx, "reading the reindex's phase", func(s session) error {
			return s.get(ctx, &at, `SELECT * FROM cloakroom.reindex_state($1)`, rotation)
		})
		if err != nil {
			return err
		}
		r.Reindexed.From, r.Reindexed.To = at.From, at.To
		if at.State == "done" {
			return nil
		}
		j.o.Log.Debug("reindexing", "version", at.To, "phase", at.Phase)
		if err := j.reindexPhase(ctx, rotation, at, r); err != nil {
			return fmt.Errorf("reindexing under index key v%d: %w", at.To, err)
		}
	}
}

func (j *job) running(ctx context.Context, step string) (bool, error) {
	var n int
	err := j.call(ctx, "looking for a running step", func(s session) error {
		return s.get(ctx, &n, `SELECT count(*) FROM cloakroom.rotation_running($1)`, step)
	})
	return n > 0, err
}

// reindexPhase does one phase. If another rotator has done it, the API functions do nothing.
func (j *job) reindexPhase(ctx context.Context, rotation int64, at reindexState, r *Report) error {
	switch at.Phase {
	case "columns":
		return j.ddl(ctx, "adding token columns", `SELECT cloakroom.reindex_columns($1)`, rotation)
	case "live":
		return j.ddl(ctx, "making the index key live", `SELECT cloakroom.reindex_live($1)`, rotation)
	case "backfill":
		return j.tokens(ctx, rotation, at, "backfill", r)
	case "indexes":
		return j.indexes(ctx, rotation)
	case "check":
		return j.tokens(ctx, rotation, at, "check", r)
	case "validate":
		return j.validate(ctx, rotation)
	case "snapshots":
		return j.awaitSnapshots(ctx, rotation)
	case "swap":
		return j.ddl(ctx, "changing the view over", `SELECT cloakroom.reindex_swap($1)`, rotation)
	case "old":
		return j.ddl(ctx, "retiring the old index key", `SELECT cloakroom.reindex_old($1)`, rotation)
	case "drop":
		return j.ddl(ctx, "dropping old token columns", `SELECT cloakroom.reindex_drop($1)`, rotation)
	}
	return fmt.Errorf("its phase is %q, which this program does not know: install the version of the schema", at.Phase)
}

func (j *job) ddl(ctx context.Context, doing, query string, args ...any) error {
	return j.tx(ctx, doing, func(s session) error { return s.exec(ctx, query, args...) })
}

// tokens runs the pass that makes tokens (backfill), or the one that recomputes and compares them
// (check).
func (j *job) tokens(ctx context.Context, rotation int64, at reindexState, pass string, r *Report) error {
	index, err := j.indexKeys(ctx, at.To)
	defer func() {
		for _, k := range index {
			k.Destroy()
		}
	}()
	if err != nil {
		return err
	}
	newWorker := func(string) worker { return newTokenWorker(j, rotation, pass, at.To, index) }
	changed, err := j.complete(ctx, rotation, []string{pass}, newWorker, func() (int64, error) {
		var left int64
		err := j.tx(ctx, "counting what is left ("+pass+")", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.finish_`+pass+`($1)`, rotation)
		})
		return left, err
	})
	r.Reindexed.Rows += changed["backfill"]
	return j.quarantine(ctx, "reindex", r, err)
}

// indexKeys gives the subkeys of a version for each dataset.
func (j *job) indexKeys(ctx context.Context, version uint32) (map[string]keys.IndexKey, error) {
	if err := j.refresh(ctx); err != nil {
		return nil, err
	}
	out := map[string]keys.IndexKey{}
	for name, t := range j.datasets {
		live, err := j.vault.IndexKeys(ctx, j.settings, t.Dataset)
		if err != nil {
			return out, err
		}
		for _, k := range live {
			if k.Version == version {
				out[name] = k
			} else {
				k.Destroy()
			}
		}
		if out[name].Version == 0 {
			return out, fmt.Errorf("index key v%d is not live: %w", version, keys.ErrUnfinished)
		}
	}
	return out, nil
}

// validate has the database prove the CHECKs of the new columns of the rows that are there, one partition after the
// other. That locks nobody out.
func (j *job) validate(ctx context.Context, rotation int64) error {
	for {
		var left int64
		err := j.tx(ctx, "validating constraints", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.reindex_validate($1)`, rotation)
		})
		if err != nil || left == 0 {
			return err
		}
	}
}

// awaitSnapshots waits for the end of every transaction whose snapshot may show rows without their
// new tokens.
func (j *job) awaitSnapshots(ctx context.Context, rotation int64) error {
	began := time.Now()
	for told := false; ; {
		var holders pq.Int32Array
		err := j.call(ctx, "waiting for old snapshots", func(s session) error {
			return s.get(ctx, &holders, `SELECT cloakroom.reindex_snapshots($1)`, rotation)
		})
		if err != nil || len(holders) == 0 {
			return err
		}
		if !told {
			told = true
			j.o.Log.Info("waiting for older transactions to end", "pids", []int32(holders))
		}
		if time.Since(began) > j.o.Patience {
			return fmt.Errorf("waiting for old snapshots: %w: processes %v have transactions older than %v; "+
				"the view changes over when they end (see pg_stat_activity); run it again",
				keys.ErrUnfinished, []int32(holders), j.o.Patience)
		}
		if err := retry.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (j *job) planReindex(ctx context.Context, r *Report) error {
	list, err := j.vault.IndexKeyList(ctx)
	if err != nil {
		return err
	}
	r.Reindexed = &Reindexed{}
	for _, k := range list {
		if k.State == "live" && r.Reindexed.From == 0 {
			r.Reindexed.From = k.Version
		}
		r.Reindexed.To = max(r.Reindexed.To, k.Version)
	}
	if r.Reindexed.To == r.Reindexed.From {
		r.Reindexed.To++
	}
	p, err := j.readPlan(ctx, time.Time{})
	if err != nil {
		return err
	}
	r.Reindexed.Rows = p.Sealed
	r.Unfinished, err = ListUnfinished(ctx, j.vault)
	return err
}
