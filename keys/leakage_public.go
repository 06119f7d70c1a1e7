package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/dataset/leakage"
	"cloakroom/internal/pg"
)

// LeakageAgainst reckons what the indexes of a member give away to somebody who knows how often its values occur in
// public. An empty member is the only one with an index. The zero month is the newest with rows enough.
//
// It makes tokens of the values and asks how often they occur, so it takes the rotator's login and KEK: no other role
// may have both. With it, a login that makes tokens could look up any value.
func (v *Vault) LeakageAgainst(ctx context.Context, d *dataset.Dataset, member string, values []leakage.Public,
	month time.Time, rate float64) (*leakage.Report, error) {
	indexes := d.Indexes()
	var of []string
	for _, ix := range indexes {
		if !slices.Contains(of, ix.Member.Name) && (member == "" || member == ix.Member.Name) {
			of = append(of, ix.Member.Name)
		}
	}
	switch {
	case len(of) > 1:
		return nil, fmt.Errorf("several members of dataset %s have an index: name one with --member: %s", d.Name,
			strings.Join(of, ", "))
	case len(of) == 0:
		return nil, fmt.Errorf("dataset %s has no member %s with an index", d.Name, member)
	}
	s, err := v.Settings(ctx)
	if err != nil {
		return nil, err
	}
	r, err := v.leakageReader(ctx, d, month, rate)
	if err != nil {
		return nil, err
	}
	versions, err := v.IndexKeys(ctx, s, d)
	defer DestroyIndexKeys(versions)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(versions, func(k IndexKey) bool { return k.Version == r.version })
	if at < 0 {
		return nil, fmt.Errorf("measuring what dataset %s gives away: the index key changed: run it again", d.Name)
	}
	tokens, err := dataset.NewTokeniser(d, versions[at].Subkeys)
	if err != nil {
		return nil, err
	}
	report := &leakage.Report{Dataset: d.Name, Known: fmt.Sprintf("%d public counts", len(values)), Rate: rate}
	for i, ix := range indexes {
		if ix.Member.Name != of[0] {
			continue
		}
		one, month, err := r.against(ctx, ix, i, tokens, values)
		if err != nil {
			return nil, fmt.Errorf("measuring what dataset %s gives away: %w", d.Name, pg.Redact(err))
		}
		report.Month = month
		report.Indexes = append(report.Indexes, one)
	}
	return report, nil
}

// chunk is how many tokens are asked for in a statement.
const chunk = 20_000

// against counts the tokens of public values among the rows.
func (r *leakageReader) against(ctx context.Context, ix dataset.Index, position int, tokens *dataset.Tokeniser,
	values []leakage.Public) (leakage.Index, string, error) {
	known := map[string]int64{}
	var token []byte
	for _, value := range values {
		var reason dataset.Reason
		var err error
		if token, reason, err = tokens.AppendToken(token[:0], position, []byte(value.Value)); err != nil {
			return leakage.Index{}, "", err
		}
		if reason == "" && string(token) != dataset.NoToken {
			known[string(token)] += value.Count
		}
	}
	s, err := r.span(ctx, ix)
	data := leakage.Data{Index: ix}
	if err != nil || s.Month == nil {
		return leakage.Measure(data, r.rate), "", err
	}
	// The file is what is known: all of the month is attacked, and counts of the month before are left out.
	s.Halves = false
	column := ix.TokenColumn(r.version)
	if err := r.counts(ctx, &data, pq.StringArray{column}, nil, s, 0); err != nil {
		return leakage.Index{}, "", err
	}
	// How many tokens have a pair of rows and known. At first nothing is known of any token, and no value has one; each
	// token that is found moves from two pairs to one.
	pairs := map[[2]int64]int64{}
	for _, c := range data.Histogram {
		if c.Rows > 0 {
			pairs[[2]int64{c.Rows, 0}] += c.Tokens
		}
	}
	var asked pq.StringArray
	for token, count := range known {
		pairs[[2]int64{0, count}]++
		asked = append(asked, token)
	}
	for part := range slices.Chunk(asked, chunk) {
		var found []struct {
			Token string `db:"token"`
			Rows  int64  `db:"rows"`
		}
		if err := r.v.DB.SelectContext(ctx, &found, `SELECT * FROM cloakroom.token_rows($1, $2, $3, $4)`, r.d.Name,
			column, *s.Month, part); err != nil {
			return leakage.Index{}, "", err
		}
		for _, f := range found {
			count := known[f.Token]
			pairs[[2]int64{f.Rows, 0}]--
			pairs[[2]int64{0, count}]--
			pairs[[2]int64{f.Rows, count}]++
		}
	}
	data.Histogram = nil
	for pair, n := range pairs {
		if n > 0 {
			data.Histogram = append(data.Histogram, leakage.Count{Rows: pair[0], Known: pair[1], Tokens: n})
		}
	}
	data.Cells = nil
	return leakage.Measure(data, r.rate), s.Month.Format("2006-01"), nil
}
