package trial

import (
	"maps"
	"slices"

	"cloakroom/dataset"
)

// Count is how many events or values have a reason and a member.
type Count struct {
	Reason dataset.Reason `json:"reason"`
	Member string         `json:"member,omitempty"`
	N      int64          `json:"count"`
	Line   int64          `json:"first_line"`
}

// IndexCount is what the tokens of an index show.
type IndexCount struct {
	Column    string `json:"column"`
	Values    int64  `json:"values"`
	Different int    `json:"different"`
	None      int64  `json:"none"` // of values that mean "none"
}

// Summary counts outcomes.
type Summary struct {
	Events     int64        `json:"events"`
	Stored     int64        `json:"stored"`
	Duplicates int64        `json:"duplicates"`
	Rejected   int64        `json:"rejected"`
	Rejections []Count      `json:"rejections"`
	Dropped    []Count      `json:"dropped"`
	Indexes    []IndexCount `json:"indexes"`
}

// Counter makes a summary of outcomes.
type Counter struct {
	trial            *Trial
	sum              Summary
	rejections, drop map[Drop]*Count
	values, none     map[string]int64
}

// NewCounter begins a summary.
func (t *Trial) NewCounter() *Counter {
	return &Counter{
		trial: t, rejections: map[Drop]*Count{}, drop: map[Drop]*Count{}, values: map[string]int64{}, none: map[string]int64{},
	}
}

// Add counts an outcome.
func (c *Counter) Add(o Outcome) {
	c.sum.Events++
	switch o.Outcome {
	case Stored:
		c.sum.Stored++
	case Duplicate:
		c.sum.Duplicates++
	default:
		c.sum.Rejected++
		count(c.rejections, Drop{o.Member, o.Reason}, o.Line)
	}
	for _, d := range o.Dropped {
		count(c.drop, d, o.Line)
	}
	for _, cell := range o.Row {
		switch cell.Kind {
		case Token:
			c.values[cell.Column]++
		case None:
			c.none[cell.Column]++
		}
	}
}

func count(counts map[Drop]*Count, of Drop, line int64) {
	if counts[of] == nil {
		counts[of] = &Count{Reason: of.Reason, Member: of.Member, Line: line}
	}
	counts[of].N++
}

// Summary is what was counted, the most frequent first.
func (c *Counter) Summary() Summary {
	out := c.sum
	out.Rejections, out.Dropped, out.Indexes = sorted(c.rejections), sorted(c.drop), []IndexCount{}
	for i, ix := range c.trial.indexes {
		column := ix.ViewColumn()
		out.Indexes = append(out.Indexes, IndexCount{column, c.values[column], len(c.trial.labels[i]), c.none[column]})
	}
	return out
}

func sorted(counts map[Drop]*Count) []Count {
	out := []Count{}
	for _, n := range slices.Collect(maps.Values(counts)) {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b Count) int {
		if a.N != b.N {
			return int(b.N - a.N)
		}
		return int(a.Line - b.Line)
	})
	return out
}

// Events is how many outcomes were counted so far.
func (c *Counter) Events() int64 { return c.sum.Events }
