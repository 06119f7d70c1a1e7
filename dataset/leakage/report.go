package leakage

import (
	"cmp"
	"fmt"
	"slices"

	"cloakroom/dataset"
)

// The policy: below MinRows nothing is said, and an index that is to be added may give away at most MaxGivesAway.
// The API function judge_evolution() has the same two.
const (
	MinRows      = 10_000
	MaxGivesAway = 0.05
)

// Data is what is known of one index, all of it counts.
type Data struct {
	Index     dataset.Index
	Nothing   int64 // rows whose token says "none"; they are in nothing below
	Halves    bool  // the attacker knows one half of the rows, and the other is attacked
	Histogram Histogram
	Cells     *Cells   // by what is clear beside it; nil: nothing is
	Vectors   []Vector // of the most frequent tokens, by the same cells
	Users     []User   // none: the dataset has no subject
	Holders   map[Pair][]int64
}

// Index is what an index gives away.
type Index struct {
	Member  string `json:"member"`
	Index   string `json:"index"`
	Column  string `json:"column"` // in the analysts' view
	Nothing int64  `json:"rows_that_mean_none"`
	Halves  bool   `json:"halves"` // the figures are of one half of the rows; the attacker knows the other
	Figures
	GivesAway float64 `json:"gives_away"`            // share of rows
	WithClear float64 `json:"gives_away_with_clear"` // share of rows, by the better of the attacks
	Lift      float64 `json:"lift"`                  // WithClear / GivesAway; 0: GivesAway is 0
	Unicity   Unicity `json:"unicity"`
	// Domain is what somebody with the index key has to try.
	Domain  string  `json:"domain"`
	Seconds float64 `json:"enumerated_in_seconds,omitempty"` // 0: never
	Verdict Verdict `json:"verdict"`
	Advice  string  `json:"advice"`

	histogram Histogram
}

// Verdict is a report in a word.
type Verdict string

// The verdicts.
const (
	TooFew  Verdict = "too few rows"
	OK      Verdict = "ok"
	Beside  Verdict = "not beside these" // too much together with what is clear beside it
	TooMuch Verdict = "too much"
)

// Together is what all indexes of a member and what it reveals give away at once.
type Together struct {
	Member    string  `json:"member"`
	GivesAway float64 `json:"gives_away"`
}

// Report is what a dataset's indexes give away.
type Report struct {
	Dataset string     `json:"dataset"`
	Month   string     `json:"month"`   // YYYY-MM; of a sample: empty
	Known   string     `json:"against"` // what the attacker knows
	Clear   []string   `json:"clear"`   // columns beside the tokens that were used
	Left    []string   `json:"clear_left_out,omitempty"`
	Rate    float64    `json:"tokens_per_second"` // of one core of this machine
	Indexes []Index    `json:"indexes"`
	Members []Together `json:"members,omitempty"`
}

// Measure reckons what an index gives away. rate is that of [TokenRate].
func Measure(data Data, rate float64) Index {
	ix := Index{
		Member: data.Index.Member.Name, Index: data.Index.Kind, Column: data.Index.ViewColumn(), Nothing: data.Nothing,
		Halves: data.Halves, Figures: data.Histogram.Figures(), Unicity: Pinned(data.Users, data.Holders),
		histogram: data.Histogram,
	}
	alone := RankMatching(data.Histogram)
	with := alone
	if data.Cells != nil {
		// Columns that have nothing to do with the token only make the counts smaller: an attacker leaves them out.
		with = max(alone, data.Cells.Labelled(), Multinomial(data.Vectors))
	}
	ix.GivesAway, ix.WithClear = Share(alone, ix.Rows), Share(with, ix.Rows)
	if alone > 0 {
		ix.Lift = with / alone
	}
	domain := DomainOf(data.Index)
	ix.Domain = domain.Text
	if !domain.Never(rate) {
		ix.Seconds = domain.Seconds(rate)
	}
	ix.Verdict, ix.Advice = judge(ix)
	return ix
}

// TooFewRows reports whether this many rows, or halves of them, say too little.
func TooFewRows(rows int64, halves bool) bool {
	if halves {
		rows *= 2
	}
	return rows < MinRows
}

// judge says in a sentence what the figures mean, and what to do.
func judge(ix Index) (Verdict, string) {
	switch {
	case TooFewRows(ix.Rows, ix.Halves):
		return TooFew, fmt.Sprintf("too few rows to judge: look again when a month has %d,%03d", MinRows/1000, MinRows%1000)
	case ix.GivesAway > MaxGivesAway:
		what := "how often a token occurs tells which value it is"
		if ix.Tokens < 1000 {
			return TooMuch, fmt.Sprintf("%s, and there are only %d: leave the index out", what, ix.Tokens)
		}
		return TooMuch, what + " too often: leave the index out, or index a part that is spread more evenly"
	case ix.WithClear > MaxGivesAway:
		return Beside, "little alone, too much beside the clear columns: protect those, or leave the index out"
	}
	return OK, "how often tokens occur tells little"
}

// All adds the share of rows that is given away if all tokens of a member, and what it reveals, are taken together:
// never less than by the one of its indexes that gives most. right are the rows guessed right by each way to do so, of the
// rows of its finest index.
func (r *Report) All(member, finest string, right ...float64) {
	t := Together{Member: member}
	for _, ix := range r.Indexes {
		if ix.Member != member {
			continue
		}
		t.GivesAway = max(t.GivesAway, ix.GivesAway)
		if ix.Index == finest {
			t.GivesAway = max(t.GivesAway, Share(slices.Max(append(right, 0)), ix.Rows))
		}
	}
	r.Members = append(r.Members, t)
}

// Finest orders the indexes of a member so that the one that tells most values apart comes first.
func Finest(indexes []dataset.Index) []dataset.Index {
	out := slices.Clone(indexes)
	slices.SortStableFunc(out, func(a, b dataset.Index) int {
		rank := func(ix dataset.Index) int {
			if ix.Kind == dataset.Exact {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return out
}

// FewValues is how many values a clear column may have, and MaxCells how many combinations all of them, for the attack
// with clear columns: beyond, each cell has too few rows to rank.
const (
	FewValues = 64
	MaxCells  = 256
)

// ChooseClear takes clear columns with few values, fewest first, while their combinations stay few. values says how
// many each has; at most 1 says nothing. It returns the columns taken and those left out, each in the order of the
// names.
func ChooseClear(names []string, values map[string]int) (taken, left []string) {
	order := slices.Clone(names)
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(values[a], values[b]) })
	cells, in := 1, map[string]bool{}
	for _, name := range order {
		n := values[name] + 1 // NULL is one more
		if values[name] > 1 && values[name] <= FewValues && cells*n <= MaxCells {
			cells *= n
			in[name] = true
		}
	}
	for _, name := range names {
		switch {
		case in[name]:
			taken = append(taken, name)
		case values[name] > 1:
			left = append(left, name)
		}
	}
	return taken, left
}

// ClearColumns are the columns in clear that stand beside the tokens in the analysts' view: members and what is
// revealed. The subject and the id are none of them: they say whose row it is, not what the token stands for.
func ClearColumns(d *dataset.Dataset) []string {
	var out []string
	for i := range d.Members {
		m := &d.Members[i]
		switch {
		case m.Protect == nil && m.Name != d.Subject && m.Name != d.ID && m.Name != d.Time && m.Type != dataset.JSON:
			out = append(out, m.Name)
		case m.Protect != nil && m.Protect.Reveal != "":
			out = append(out, m.RevealColumn())
		}
	}
	return out
}
