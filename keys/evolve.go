package keys

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
)

// ErrRefused reports a change of a dataset that cannot be made with the rows that are there.
var ErrRefused = errors.New("the change is refused")

// PlanDataset says how the vault's dataset of that name becomes d. It is nil if the vault has no such dataset. Nothing is
// changed.
func (v *Vault) PlanDataset(ctx context.Context, d *dataset.Dataset) (*dataset.Evolution, error) {
	list, err := v.Datasets(ctx)
	if err != nil {
		return nil, err
	}
	old, _ := list.Find(d.Name)
	if old == nil {
		return nil, nil
	}
	var version uint32
	if err := v.DB.GetContext(ctx, &version, `SELECT max(version) FROM cloakroom.live_index_keys()`); err != nil {
		return nil, fmt.Errorf("planning dataset %s: %w", d.Name, pg.Redact(err))
	}
	e := dataset.Plan(old, d, version)
	return &e, nil
}

// Creation is what applying a dataset that is not there would do.
type Creation struct {
	SQL string // of the table and the views
	// Taken is a relation of schema public that is in the way; empty: none.
	Taken string
}

// PlanCreation says how a dataset that is not in the vault would be made.
func (v *Vault) PlanCreation(ctx context.Context, d *dataset.Dataset) (Creation, error) {
	var at struct {
		Version uint32  `db:"version"`
		Server  int     `db:"server"`
		Taken   *string `db:"taken"`
	}
	err := v.DB.GetContext(ctx, &at, `
		SELECT (SELECT max(version) FROM cloakroom.live_index_keys()) AS version,
		       current_setting('server_version_num')::int AS server,
		       (SELECT min(relname::text) FROM pg_class
		         WHERE relnamespace = 'public'::regnamespace AND relname IN ($1, $2)) AS taken`, d.Table, d.DuplicatesView())
	if err != nil {
		return Creation{}, fmt.Errorf("planning dataset %s: %w", d.Name, pg.Redact(err))
	}
	out := Creation{SQL: d.CreateSQL(at.Version, at.Server)}
	if at.Taken != nil {
		out.Taken = "public." + *at.Taken
	}
	return out, nil
}

// underWay is the change of a dataset that was begun and is not done.
type underWay struct {
	Rotation   int64  `db:"rotation"`
	Old        string `db:"old_definition"`
	Definition string `db:"definition"`
	Version    uint32 `db:"version"` // of the index key
	By         string `db:"run_by"`  // of the next step

	plan *dataset.Evolution
	// dropped says that this change waits at the gate and its index is not wanted: plan is the way out.
	dropped bool
}

// findUnderWay looks for a change that leads to d, or that d takes back. It gives nil if none is under way.
func findUnderWay(ctx context.Context, tx *sqlx.Tx, d *dataset.Dataset) (*underWay, error) {
	at := &underWay{}
	err := tx.GetContext(ctx, at, `
		SELECT e.rotation, e.old_definition, e.definition, e.version, s.run_by
		  FROM cloakroom.evolutions e JOIN cloakroom.rotations r ON r.id = e.rotation
		 CROSS JOIN LATERAL cloakroom.evolution_state(e.rotation) AS s
		 WHERE r.state = 'running' AND e.dataset = $1`, d.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a change of dataset %s: %w", d.Name, pg.Redact(err))
	}
	old, err := dataset.ParseCanonical([]byte(at.Old))
	if err != nil {
		return nil, fmt.Errorf("reading dataset %s: %w", d.Name, err)
	}
	if at.Definition == string(d.Canonical()) {
		e := dataset.Plan(old, d, at.Version)
		at.plan = &e
		return at, nil
	}
	if at.By != "gate" {
		return nil, fmt.Errorf("changing dataset %s: another change of it is under way: let it end first: keys rotate",
			d.Name)
	}
	stopped, err := dataset.ParseCanonical([]byte(at.Definition))
	if err != nil {
		return nil, fmt.Errorf("reading dataset %s: %w", d.Name, err)
	}
	e, ok := dataset.Retreat(old, stopped, d, at.Version)
	if !ok {
		return nil, fmt.Errorf("changing dataset %s: a change of it waits, because a new index gives away too much: "+
			"apply its file without that index and with nothing else changed, or let it go on: --accept-leakage", d.Name)
	}
	at.plan, at.dropped = &e, true
	return at, nil
}

// evolutionStep is a row of cloakroom.evolution_steps.
type evolutionStep struct {
	Number int    `json:"number"`
	By     string `json:"run_by"`
	Title  string `json:"title"`
	SQL    string `json:"sql"`
}

// stepsOf lists what is to be done, and by whom.
func stepsOf(e dataset.Evolution) []evolutionStep {
	var out []evolutionStep
	for i, s := range e.Steps {
		by := s.By
		if by == dataset.ByRotation {
			by = "fill"
			switch {
			case len(s.Judged) > 0:
				by = "gate"
			case len(s.Indexes) > 0:
				by = "index"
			}
		}
		out = append(out, evolutionStep{i + 1, by, s.Title, s.SQL})
	}
	return out
}

// work is what has to be filled in the rows that are there.
type work struct {
	members, clear, tokens, reveals pq.StringArray
	again                           pq.StringArray // of tokens and reveals, those to be made again where they are there
}

func workOf(old, new *dataset.Dataset, version uint32) work {
	// An array that is nil would be NULL.
	w := work{pq.StringArray{}, pq.StringArray{}, pq.StringArray{}, pq.StringArray{}, pq.StringArray{}}
	for i := range new.Members {
		m := &new.Members[i]
		before, there := old.Member(m.Name)
		if !there || m.Protect == nil {
			continue
		}
		var had *dataset.Protection
		if had = before.Protect; had == nil {
			had = &dataset.Protection{}
			w.members = append(w.members, m.Name)
			w.clear = append(w.clear, before.Name)
		}
		// What means "none" has another token, and shows nothing.
		again := !slices.Equal(had.Nothing, m.Protect.Nothing) && before.Protect != nil
		kept := map[string]bool{}
		for _, kind := range had.Indexes {
			kept[kind] = true
		}
		for _, ix := range m.Indexes() {
			if !kept[ix.Kind] || again {
				w.tokens = append(w.tokens, ix.TokenColumn(version))
			}
			if again {
				w.again = append(w.again, ix.TokenColumn(version))
			}
		}
		if m.Protect.Reveal != "" && (m.Protect.Reveal != had.Reveal || again) {
			w.reveals = append(w.reveals, m.RevealColumn())
			if again {
				w.again = append(w.again, m.RevealColumn())
			}
		}
	}
	return w
}

// beginEvolution plans a change and writes it down. Nothing of it is done before the transaction is committed.
// plan is nil unless the steps are known already.
func beginEvolution(ctx context.Context, tx *sqlx.Tx, old, new *dataset.Dataset, versions []int32,
	plan *dataset.Evolution) (*dataset.Evolution, error) {
	if len(versions) != 1 {
		return nil, fmt.Errorf("the vault has %d live index keys, not one: keys rotate", len(versions))
	}
	version := uint32(versions[0])
	if plan == nil {
		e := dataset.Plan(old, new, version)
		plan = &e
	}
	e := *plan
	if refused := e.Refused(); len(refused) > 0 {
		return nil, refusal(refused)
	}
	columns, err := json.Marshal(columnsOf(new, version))
	if err != nil {
		return nil, err
	}
	steps, err := json.Marshal(stepsOf(e))
	if err != nil {
		return nil, err
	}
	w := workOf(old, new, version)
	judged := pq.StringArray{}
	for _, s := range e.Steps {
		judged = append(judged, s.Judged...)
	}
	var rotation int64
	err = tx.GetContext(ctx, &rotation,
		`SELECT cloakroom.begin_evolution($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		new.Name, version, string(new.Canonical()), string(columns), w.members, w.clear, w.tokens, w.reveals, w.again,
		judged, append(pq.StringArray{}, Remains(e)...), string(steps))
	return &e, err
}

// refusal names every change that cannot be made, and why.
func refusal(refused []dataset.Change) error {
	var b strings.Builder
	for _, c := range refused {
		fmt.Fprintf(&b, "\n  %s: %s", c.Text, c.Refused)
	}
	return fmt.Errorf("%w, and nothing was changed:%s", ErrRefused, b.String())
}

// Remains lists where the old values still are when a change is done. Changes of one plan share the list.
func Remains(e dataset.Evolution) []string {
	var out []string
	seen := map[string]bool{}
	for _, c := range e.Changes {
		for _, r := range c.Remains {
			if !seen[r] {
				seen[r] = true
				out = append(out, r)
			}
		}
	}
	return out
}
