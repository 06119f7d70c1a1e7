package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"cloakroom/dataset"
	"cloakroom/dataset/leakage"
	"cloakroom/internal/pg"
)

// ErrGivesAway reports a new index that gives away too much. The change of its dataset waits until the index is taken
// out of the definition, or what it gives away is accepted.
var ErrGivesAway = errors.New("a new index gives away too much")

// IndexLeakage is what an index gave away when the vault measured it last.
type IndexLeakage struct {
	Dataset    string     `db:"dataset" json:"dataset"`
	Member     string     `db:"member" json:"member"`
	Index      string     `db:"index_name" json:"index"`
	Month      *time.Time `db:"month" json:"month,omitempty"` // its first day; nil: no row has a token
	Halves     bool       `db:"halves" json:"halves"`         // half of the month's rows was what the attacker knew
	Rows       int64      `db:"rows" json:"rows"`             // that were attacked
	Tokens     int64      `db:"tokens" json:"distinct_tokens"`
	GivesAway  float64    `db:"gives_away" json:"gives_away"` // share of rows
	Verdict    string     `db:"verdict" json:"verdict,omitempty"`
	MeasuredAt *time.Time `db:"measured_at" json:"measured_at,omitempty"` // nil: never, and all before means nothing
	Accepted   string     `db:"accepted" json:"accepted,omitempty"`       // why it stays although it is too much
}

// TooMuch reports whether enough rows were measured, and more of them than the policy allows are given away.
func (l IndexLeakage) TooMuch() bool {
	return !leakage.TooFewRows(l.Rows, l.Halves) && l.GivesAway > leakage.MaxGivesAway
}

// IndexLeakages lists what each index gave away when it was last measured. It reads no row.
func (v *Vault) IndexLeakages(ctx context.Context) ([]IndexLeakage, error) {
	list := []IndexLeakage{}
	err := v.DB.SelectContext(ctx, &list, `
		SELECT dataset, member, index_name, month, coalesce(halves, false) AS halves, coalesce(rows, 0) AS rows,
		       coalesce(tokens, 0) AS tokens, coalesce(gives_away, 0) AS gives_away, measured_at,
		       coalesce(accepted, '') AS accepted
		  FROM cloakroom.leakage_figures()`)
	if err != nil {
		return nil, fmt.Errorf("reading what indexes give away: %w", pg.Redact(err))
	}
	return list, nil
}

// span is the rows that are looked at: a month, and as what is known the month before, or one half of the month.
type span struct {
	Month  *time.Time `db:"month"` // nil: no row has a token
	Halves bool       `db:"halves"`
}

// leakageReader reads the counts of one dataset.
type leakageReader struct {
	v       *Vault
	d       *dataset.Dataset
	version uint32 // of the index key, whose tokens analysts see
	month   *time.Time
	rate    float64
}

func (v *Vault) leakageReader(ctx context.Context, d *dataset.Dataset, month time.Time, rate float64) (
	*leakageReader, error) {
	r := &leakageReader{v: v, d: d, rate: rate}
	if !month.IsZero() {
		r.month = &month
	}
	// While a reindex fills the next version, the oldest is the one that is whole.
	if err := v.DB.GetContext(ctx, &r.version, `SELECT min(version) FROM cloakroom.live_index_keys()`); err != nil {
		return nil, fmt.Errorf("reading index keys: %w", pg.Redact(err))
	}
	return r, nil
}

// Leakage reckons what each index of a dataset gives away, from the rows of a month and of the month before. The zero
// month is the newest with rows enough. rate is that of leakage.TokenRate. The statements read whole months: they take
// a second or two for a million rows.
//
// It takes the rotator's login.
func (v *Vault) Leakage(ctx context.Context, d *dataset.Dataset, month time.Time, rate float64) (
	*leakage.Report, error) {
	r, err := v.leakageReader(ctx, d, month, rate)
	if err != nil {
		return nil, err
	}
	indexes := d.Indexes()
	report := &leakage.Report{Dataset: d.Name, Rate: rate, Indexes: make([]leakage.Index, len(indexes))}
	spans := make([]span, len(indexes))
	clear := leakage.ClearColumns(d)
	for i, ix := range indexes {
		if spans[i], err = r.span(ctx, ix); err != nil {
			return nil, err
		}
	}
	if i := slices.IndexFunc(spans, func(s span) bool { return s.Month != nil }); i >= 0 {
		report.Month, report.Known = describeSpan(spans[i])
		if report.Clear, report.Left, err = r.chooseClear(ctx, clear, *spans[i].Month); err != nil {
			return nil, err
		}
	}
	// Two at once: a server has more than one core, and this is nothing to be waited for long.
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, ix := range indexes {
		g.Go(func() error {
			var err error
			report.Indexes[i], err = r.measure(each, ix, spans[i], report.Clear)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("measuring what dataset %s gives away: %w", d.Name, pg.Redact(err))
	}
	for i := range d.Members {
		if err := r.together(ctx, report, &d.Members[i], spans); err != nil {
			return nil, fmt.Errorf("measuring what dataset %s gives away: %w", d.Name, pg.Redact(err))
		}
	}
	return report, nil
}

func describeSpan(s span) (month, known string) {
	known = s.Month.AddDate(0, -1, 0).Format("2006-01")
	if s.Halves {
		known = "the other half of the month"
	}
	return s.Month.Format("2006-01"), known
}

func (r *leakageReader) span(ctx context.Context, ix dataset.Index) (s span, err error) {
	err = r.v.DB.GetContext(ctx, &s, `
		SELECT month, coalesce(halves, false) AS halves FROM cloakroom.leakage_span($1, $2, $3)`,
		r.d.Name, ix.TokenColumn(r.version), r.month)
	if err != nil {
		err = fmt.Errorf("looking for rows of dataset %s: %w", r.d.Name, pg.Redact(err))
	}
	return s, err
}

// chooseClear looks at how many values clear columns have, and takes those with few.
func (r *leakageReader) chooseClear(ctx context.Context, names []string, month time.Time) (
	taken, left []string, err error) {
	var rows []struct {
		Name   string `db:"column_name"`
		Values int    `db:"values"`
	}
	err = r.v.DB.SelectContext(ctx, &rows, `SELECT * FROM cloakroom.leakage_values($1, $2, $3)`, r.d.Name,
		append(pq.StringArray{}, names...), month)
	if err != nil {
		return nil, nil, fmt.Errorf("looking at what is clear in dataset %s: %w", r.d.Name, pg.Redact(err))
	}
	values := map[string]int{}
	for _, row := range rows {
		values[row.Name] = row.Values
	}
	taken, left = leakage.ChooseClear(names, values)
	return taken, left, nil
}

// measure reads the counts of one index.
func (r *leakageReader) measure(ctx context.Context, ix dataset.Index, s span, clear []string) (leakage.Index, error) {
	data := leakage.Data{Index: ix, Halves: s.Halves}
	if s.Month == nil {
		return leakage.Measure(data, r.rate), nil
	}
	column := pq.StringArray{ix.TokenColumn(r.version)}
	if err := r.counts(ctx, &data, column, clear, s, leakage.Heads); err != nil {
		return leakage.Index{}, err
	}
	if len(clear) == 0 {
		data.Cells = nil
	}
	if r.d.Subject == "" {
		return leakage.Measure(data, r.rate), nil
	}
	rows, err := r.v.DB.QueryxContext(ctx, `SELECT coalesce(who, 0), token, day, holders FROM
		cloakroom.leakage_pairs($1, $2, $3, $4)`, r.d.Name, column[0], *s.Month, leakage.Users)
	if err != nil {
		return leakage.Index{}, err
	}
	defer rows.Close()
	data.Holders = map[leakage.Pair][]int64{}
	for rows.Next() {
		var who int64
		var pair leakage.Pair
		var holders pq.Int64Array
		if err := rows.Scan(&who, &pair.Token, &pair.Day, &holders); err != nil {
			return leakage.Index{}, err
		}
		n := len(data.Users)
		// Users come first, each with its pairs one after the other; then all who have a pair.
		switch {
		case holders != nil:
			data.Holders[pair] = holders
		case n > 0 && data.Users[n-1].ID == who:
			data.Users[n-1].Pairs = append(data.Users[n-1].Pairs, pair)
		default:
			data.Users = append(data.Users, leakage.User{ID: who, Pairs: []leakage.Pair{pair}})
		}
	}
	return leakage.Measure(data, r.rate), rows.Err()
}

// counts reads how many tokens have which counts, alone and by cell. Without columns beside there are no cells.
func (r *leakageReader) counts(ctx context.Context, data *leakage.Data, columns pq.StringArray, beside []string, s span,
	heads int) error {
	rows, err := r.v.DB.QueryxContext(ctx, `SELECT * FROM cloakroom.leakage_counts($1, $2, $3, $4, $5, $6)`, r.d.Name,
		columns, append(pq.StringArray{}, beside...), *s.Month, s.Halves, heads)
	if err != nil {
		return err
	}
	defer rows.Close()
	// A cell is a row: there may be as many as the coarser tokens of a member, and they are added up as they come.
	data.Cells = &leakage.Cells{}
	var sparse []sparseVector
	for rows.Next() {
		var part string
		var n, m, k pq.Int64Array
		var isToken, isValue bool
		if err := rows.Scan(&part, &n, &m, &k, &isToken, &isValue); err != nil {
			return err
		}
		switch part {
		case "nothing":
			if len(n) > 0 {
				data.Nothing = n[0]
			}
		case "alone":
			data.Histogram = histogram(n, m, k)
		case "cell":
			data.Cells.Add(histogram(n, m, k))
		case "head":
			sparse = append(sparse, sparseVector{n, m, k, isToken, isValue})
		}
	}
	data.Vectors = vectors(sparse)
	return rows.Err()
}

func histogram(n, m, k []int64) leakage.Histogram {
	h := make(leakage.Histogram, len(k))
	for i := range k {
		h[i] = leakage.Count{Rows: n[i], Known: m[i], Tokens: k[i]}
	}
	return h
}

// sparseVector has counts for the cells, numbered from 1, in which the token occurs.
type sparseVector struct {
	n, m, cells      pq.Int64Array
	isToken, isValue bool
}

func vectors(sparse []sparseVector) []leakage.Vector {
	var most int64
	for _, s := range sparse {
		most = max(most, slices.Max(s.cells))
	}
	var out []leakage.Vector
	for _, s := range sparse {
		v := leakage.Vector{Rows: make([]int64, most), Known: make([]int64, most), Token: s.isToken, Value: s.isValue}
		for i, c := range s.cells {
			v.Rows[c-1], v.Known[c-1] = s.n[i], s.m[i]
		}
		out = append(out, v)
	}
	return out
}

// together measures all that a member shows at once.
func (r *leakageReader) together(ctx context.Context, report *leakage.Report, m *dataset.Member, spans []span) error {
	indexes := leakage.Finest(m.Indexes())
	if len(indexes) == 0 || len(indexes) == 1 && m.Protect.Reveal == "" {
		return nil
	}
	at := slices.IndexFunc(r.d.Indexes(), func(ix dataset.Index) bool {
		return ix.Member.Name == m.Name && ix.Kind == indexes[0].Kind
	})
	var columns pq.StringArray
	for _, ix := range indexes {
		columns = append(columns, ix.TokenColumn(r.version))
	}
	var right []float64
	if s := spans[at]; s.Month != nil {
		if len(columns) > 1 {
			var data leakage.Data
			if err := r.counts(ctx, &data, columns, columns[1:], s, 0); err != nil {
				return err
			}
			right = append(right, data.Cells.Guessed())
		}
		if m.Protect.Reveal != "" {
			var data leakage.Data
			if err := r.counts(ctx, &data, columns, []string{m.RevealColumn()}, s, 0); err != nil {
				return err
			}
			right = append(right, data.Cells.Labelled())
		}
	}
	report.All(m.Name, indexes[0].Kind, right...)
	return nil
}
