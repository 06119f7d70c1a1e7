package dataset

import (
	"cmp"
	"slices"
)

// Who carries out a step of a change.
const (
	ByOwner    = "owner"    // SQL in a short transaction, by keys dataset apply
	ByEpoch    = "epoch"    // the new definition is recorded; go on when every daemon has read it
	ByRotation = "rotation" // the rotation job reads, seals and writes rows; it can be interrupted
	ByOperator = "operator" // needs rights or decisions that no program of ours has: it is printed
)

// The phases of a change. All changes of one plan go through them together: so daemons read one new definition, and the
// views are made again once, when every column they show is there.
const (
	phasePrepare  = iota // add columns, and allow NULL
	phaseWiden           // change the types of columns, under the views as they are
	phaseEpoch           // from here on, events are stored as the new definition says
	phaseBackfill        // bring the rows that are there up to it
	phaseJudge           // stop if a new index gives away too much
	phaseIndex           // make indexes, partition by partition
	phaseHold            // hold new rows to the CHECKs
	phaseValidate        // look at the rows that are there
	phaseProve           // refuse to go on if something is left
	phaseViews           // drop what is gone, and make the views again
	phaseAnalyze         // statistics
	phaseRewrite         // write partitions again
	phaseStatistics
)

// Step is one step of a plan. Steps are taken in order, each committed before the next.
type Step struct {
	By    string
	Title string
	SQL   string // empty: the title says what is done
	// Apart says that each statement runs alone, outside a transaction: VACUUM does not run in one.
	Apart bool
	// Indexes are token columns whose index is made on each partition, by PartitionIndexSQL.
	Indexes []string
	// Judged are token columns of new indexes. Unless each gives away little, the change waits here: the rows have
	// their tokens, and no view shows them yet.
	Judged []string

	phase int
}

// JudgeTitle is the title of the step at which a change may wait for a person.
const JudgeTitle = "judge what the new indexes give away, and stop if it is too much"

// Change is one difference between two definitions.
type Change struct {
	Code   string // add_member, widen, add_index, protect, …
	Member string // empty: of the dataset
	Text   string // what changes, and what it means for rows that are there
	// Refused says why this cannot be done with the rows that are there; empty: it can.
	Refused string
	// Remains lists where the old values still are when the steps are done.
	Remains []string
}

// Evolution is the way from one definition to the next. Without a change, the two mean the same.
type Evolution struct {
	Changes []Change
	Steps   []Step // none if a change is refused
}

// Refused are the changes that cannot be made.
func (e Evolution) Refused() []Change {
	var out []Change
	for _, c := range e.Changes {
		if c.Refused != "" {
			out = append(out, c)
		}
	}
	return out
}

// Plan compares two definitions of one dataset and says how to get from the first to the second without stopping
// anything. version is the index key's; no reindex may be under way.
//
// The views are made again where their columns change: CREATE OR REPLACE VIEW can neither change a column's type nor
// put one in the middle, and a cast to the old type would hide the token's index from the planner. What depends on
// a view is named and stops the change; what was granted on it is granted again.
func Plan(old, new *Dataset, version uint32) Evolution {
	p := &planner{old: old, new: new, version: version}
	p.datasetChanges()
	for i := range old.Members {
		m := &old.Members[i]
		if _, kept := new.Member(m.Name); !kept {
			p.refuse("drop_member", m.Name, m.Name+" is dropped",
				"rows hold it: keep the member, and make it optional if events no longer have it")
		}
	}
	for i := range new.Members {
		m := &new.Members[i]
		if before, there := old.Member(m.Name); there {
			p.memberChanges(before, m)
		} else {
			p.addMember(m)
		}
	}
	p.order()
	e := Evolution{Changes: p.changes}
	if len(e.Changes) > 0 && len(e.Refused()) == 0 {
		e.Steps = p.merge()
	}
	return e
}

// Retreat is the way out of a change from old to stopped that waits to be judged, for an index that gives away too
// much. new is stopped without some of the indexes that it adds: nothing else can be taken back, because rows are as
// stopped says. It reports false if new is anything else.
func Retreat(old, stopped, new *Dataset, version uint32) (Evolution, bool) {
	rest, err := ParseCanonical(stopped.Canonical())
	if err != nil {
		return Evolution{}, false
	}
	p := &planner{old: old, new: new, version: version}
	var drop string
	for i := range rest.Members {
		m := &rest.Members[i]
		had, _ := old.Member(m.Name)
		wanted, kept := new.Member(m.Name)
		if m.Protect == nil || !kept || wanted.Protect == nil {
			continue
		}
		m.Protect.Indexes = slices.DeleteFunc(slices.Clone(m.Protect.Indexes), func(kind string) bool {
			added := had != nil && (had.Protect == nil || !slices.Contains(had.Protect.Indexes, kind))
			gone := added && !slices.Contains(wanted.Protect.Indexes, kind)
			if gone {
				drop += p.alter("DROP COLUMN %s", quote(Index{Member: m, Kind: kind}.TokenColumn(version)))
			}
			return gone
		})
	}
	if drop == "" || rest.Hash() != new.Hash() {
		return Evolution{}, false
	}
	// What is left of the way from old to new. All before the gate is done, and rows are filled.
	for i := range new.Members {
		if before, there := old.Member(new.Members[i].Name); there {
			p.memberChanges(before, &new.Members[i])
		} else {
			p.addMember(&new.Members[i])
		}
	}
	p.order()
	p.steps = slices.DeleteFunc(p.steps, func(s Step) bool { return s.phase < phaseJudge })
	p.views(drop)
	changes := Plan(stopped, new, version).Changes
	for _, c := range p.changes {
		changes[0].Remains = append(changes[0].Remains, c.Remains...)
	}
	return Evolution{Changes: changes, Steps: p.merge()}, true
}

// merge brings the steps of all changes into the order of their phases, and joins those that can be one.
func (p *planner) merge() []Step {
	p.step(phaseEpoch, ByEpoch, "record the definition, and wait until every daemon has read it", "")
	slices.SortStableFunc(p.steps, func(a, b Step) int { return cmp.Compare(a.phase, b.phase) })
	var out []Step
	for _, s := range p.steps {
		if n := len(out) - 1; n >= 0 && out[n].phase == s.phase && s.phase != phaseBackfill {
			out[n].SQL += s.SQL
			out[n].Indexes = append(out[n].Indexes, s.Indexes...)
			out[n].Judged = append(out[n].Judged, s.Judged...)
			continue
		}
		out = append(out, s)
	}
	for i := range out {
		switch s := &out[i]; s.phase {
		case phaseWiden:
			s.SQL = p.old.ReplaceViewsSQL(p.version, s.SQL)
		case phaseViews:
			s.SQL = p.new.ReplaceViewsSQL(p.version, s.SQL)
		}
	}
	return out
}
