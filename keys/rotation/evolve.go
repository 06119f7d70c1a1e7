package rotation

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"cloakroom/keys"
)

// Evolved is what a change of a dataset did, and what it leaves to the operator.
type Evolved struct {
	Dataset string   `json:"dataset"`
	Steps   []string `json:"steps"` // taken by this run
	Rows    int64    `json:"rows"`  // written by this run
	// Judged are the new indexes that this run judged, before analysts see them.
	Judged   []keys.IndexLeakage `json:"judged,omitempty"`
	Operator []OperatorStep      `json:"operator,omitempty"` // once all else is done
	Remains  []string            `json:"remains,omitempty"`  // where old values still are after that
}

// OperatorStep needs rights or decisions that no program of ours has.
type OperatorStep struct {
	Title string `db:"title" json:"title"`
	SQL   string `db:"sql" json:"sql"`
}

// Evolve finishes the change of a dataset that keys.ApplyDataset began; without one it does nothing. A vault without a KEK
// goes as far as it can without keys, and then gives keys.ErrUnfinished.
//
// Its errors are those of Rotate, and keys.ErrGivesAway: a new index gives away too much, and the change waits. A view
// that depends on one of ours stops it: the error names the view.
func Evolve(ctx context.Context, v *keys.Vault, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error { return j.evolve(ctx, r) })
}

// evolution is how far a change has come.
type evolution struct {
	Dataset    string         `db:"dataset"`
	Version    uint32         `db:"version"` // of the index key
	Definition string         `db:"definition"`
	Members    pq.StringArray `db:"members"` // to be sealed
	Tokens     pq.StringArray `db:"tokens"`  // columns to be filled
	Reveals    pq.StringArray `db:"reveals"`
	Remains    pq.StringArray `db:"remains"`
	State      string         `db:"state"`
	Step       int            `db:"step"` // the next; 0: none
	By         string         `db:"run_by"`
	Title      string         `db:"title"`

	rotation int64
}

func (j *job) evolve(ctx context.Context, r *Report) error {
	var running pq.Int64Array
	err := j.call(ctx, "looking for a change of a dataset", func(s session) error {
		return s.get(ctx, &running, `SELECT coalesce(array_agg(id), '{}') FROM cloakroom.rotation_running('evolve')`)
	})
	if err != nil || len(running) == 0 {
		return err
	}
	r.Evolved = &Evolved{}
	for {
		at := evolution{rotation: running[0]}
		err := j.call(ctx, "reading how far the change has come", func(s session) error {
			return s.get(ctx, &at, `SELECT * FROM cloakroom.evolution_state($1)`, at.rotation)
		})
		if err != nil {
			return err
		}
		r.Evolved.Dataset = at.Dataset
		if at.State == "done" {
			r.Evolved.Remains = at.Remains
			return j.call(ctx, "reading what is left to the operator", func(s session) error {
				return s.list(ctx, &r.Evolved.Operator, `SELECT * FROM cloakroom.operator_steps($1)`, at.rotation)
			})
		}
		j.o.Log.Debug("changing a dataset", "dataset", at.Dataset, "step", at.Step, "title", at.Title)
		if err := j.evolveStep(ctx, at, r); err != nil {
			return fmt.Errorf("changing dataset %s: %w", at.Dataset, err)
		}
		r.Evolved.Steps = append(r.Evolved.Steps, at.Title)
	}
}

// evolveStep takes one step. If another rotator has taken it, the API functions do nothing.
func (j *job) evolveStep(ctx context.Context, at evolution, r *Report) error {
	switch at.By {
	case "owner", "epoch":
		query := `SELECT cloakroom.evolve_step($1, $2)`
		if j.o.Owner == nil {
			return j.ddl(ctx, at.Title, query, at.rotation, at.Step)
		}
		// Looking at every row may take longer than a statement of the rotator's may.
		return j.again(ctx, at.Title, func() error {
			return session{j.o.Owner, j.o.hook}.exec(ctx, query, at.rotation, at.Step)
		})
	case "fill":
		return j.fill(ctx, at, r)
	case "gate":
		return j.judge(ctx, at, r)
	case "index":
		return j.evolveIndexes(ctx, at)
	}
	return fmt.Errorf("it is for %q, which this program does not know: install the version that began the change", at.By)
}

// evolveIndexes gives every partition an index on each new token column. A partition made meanwhile has its own.
func (j *job) evolveIndexes(ctx context.Context, at evolution) error {
	for {
		var list []indexLeft
		err := j.call(ctx, "looking for missing indexes", func(s session) error {
			return s.list(ctx, &list, `SELECT * FROM cloakroom.evolve_indexes_left($1)`, at.rotation)
		})
		if err != nil {
			return err
		}
		for _, missing := range list {
			if err := j.index(ctx, `SELECT cloakroom.evolve_index($1, $2, $3, $4)`, at.rotation, missing); err != nil {
				return err
			}
		}
		var left int64
		err = j.tx(ctx, "counting missing indexes", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.finish_evolve_indexes($1, $2)`, at.rotation, at.Step)
		})
		if err != nil || left == 0 {
			return err
		}
	}
}

// fill brings the rows that are there up to the new definition.
func (j *job) fill(ctx context.Context, at evolution, r *Report) error {
	if j.vault.KEK == nil {
		return fmt.Errorf("%w: this needs the KEK: keys rotate goes on", keys.ErrUnfinished)
	}
	index, err := j.indexKeys(ctx, at.Version)
	defer func() {
		for _, k := range index {
			k.Destroy()
		}
	}()
	if err != nil {
		return err
	}
	newWorker := func(string) worker { return newFiller(j, at, index[at.Dataset]) }
	changed, err := j.complete(ctx, at.rotation, []string{"evolve"}, newWorker, func() (int64, error) {
		var left int64
		err := j.tx(ctx, "counting what is left", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.finish_fill($1, $2)`, at.rotation, at.Step)
		})
		return left, err
	})
	r.Evolved.Rows += changed["evolve"]
	return j.quarantine(ctx, "evolve", r, err)
}
