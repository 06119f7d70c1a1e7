package verify

import (
	"context"
	"fmt"

	"cloakroom/internal/pg"
)

// checkLayout checks columns, indexes and views. It reports false if a column is missing without
// which rows cannot be read.
func (w *verifier) checkLayout(ctx context.Context) (readable bool, err error) {
	var problems []struct {
		Dataset    *string `db:"dataset"`
		Part       string  `db:"part"`
		Problem    string  `db:"problem"`
		Unreadable bool    `db:"unreadable"`
	}
	if err := w.vault.DB.SelectContext(ctx, &problems, `SELECT * FROM cloakroom.layout_problems()`); err != nil {
		return false, fmt.Errorf("checking columns, indexes and views: %w", pg.Redact(err))
	}
	readable = true
	for _, p := range problems {
		f := Failure{Part: p.Part, Problem: p.Problem}
		if p.Dataset != nil {
			f.Dataset = *p.Dataset
		}
		w.fail(f)
		readable = readable && !p.Unreadable
	}
	return readable, nil
}
