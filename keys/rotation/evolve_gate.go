package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cloakroom/dataset/leakage"
	"cloakroom/keys"
)

// judge measures the new indexes of a change, and stops it if one gives away too much: the rows have its tokens, and no
// view shows them. Options.AcceptLeakage lets it go on, with an entry in the audit log.
func (j *job) judge(ctx context.Context, at evolution, r *Report) error {
	var judged []keys.IndexLeakage
	err := j.tx(ctx, at.Title, func(s session) error {
		judged = nil
		return s.list(ctx, &judged, `
			SELECT dataset, member, index_name, month, coalesce(halves, false) AS halves, rows, tokens, gives_away,
			       verdict
			  FROM cloakroom.judge_evolution($1, $2)`, at.rotation, at.Step)
	})
	if err != nil {
		return err
	}
	r.Evolved.Judged = append(r.Evolved.Judged, judged...)
	var refused []string
	for _, l := range judged {
		if l.Verdict == string(leakage.TooMuch) {
			refused = append(refused, fmt.Sprintf("index %s of %s gives away %s of the rows, more than %s", l.Index,
				l.Member, leakage.Percent(l.GivesAway), leakage.Percent(leakage.MaxGivesAway)))
		}
	}
	if len(refused) == 0 {
		return nil
	}
	// The function that lets it go on writes the entry: a client cannot do one without the other.
	if j.o.AcceptLeakage == "" {
		return fmt.Errorf("%w: %s: analysts do not see it yet. Apply the file without it, or accept it: "+
			"--accept-leakage REASON", keys.ErrGivesAway, strings.Join(refused, "; "))
	}
	return j.tx(ctx, "accepting what the new indexes give away", func(s session) error {
		return s.exec(ctx, `SELECT cloakroom.accept_leakage($1, $2, $3)`, at.rotation, at.Step, j.o.AcceptLeakage)
	})
}

// remeasureDays is how old what an index gives away may be before Rotate measures it again. It reads two months, so not
// each night.
const remeasureDays = 30

// measure measures each index that was not measured for a month, or had too few rows then. What fails is logged and
// tried again by the next run: nothing else waits for it.
func (j *job) measure(ctx context.Context, r *Report) error {
	list, err := j.vault.IndexLeakages(ctx)
	if err != nil {
		return err
	}
	for _, l := range list {
		recent := l.MeasuredAt != nil && j.vault.Now().Sub(*l.MeasuredAt).Hours() < remeasureDays*24
		if recent && !leakage.TooFewRows(l.Rows, l.Halves) {
			continue
		}
		err := j.call(ctx, "measuring what an index gives away", func(s session) error {
			return s.exec(ctx, `SELECT cloakroom.measure_index($1, $2, $3)`, l.Dataset, l.Member, l.Index)
		})
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			j.o.Log.Warn("measuring what an index gives away", "dataset", l.Dataset, "member", l.Member, "index",
				l.Index, "error", err)
		}
	}
	r.Leakage, err = j.vault.IndexLeakages(ctx)
	return err
}
