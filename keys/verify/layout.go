package verify

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
)

// checkLayout checks columns, indexes and views. It reports false if a column is missing without
// which rows cannot be read.
func (w *verifier) checkLayout(ctx context.Context) (readable bool, err error) {
	var members pq.StringArray
	for _, m := range w.protected {
		members = append(members, m.Name)
	}
	var problems []struct {
		Part       string `db:"part"`
		Problem    string `db:"problem"`
		Unreadable bool   `db:"unreadable"`
	}
	if err := w.vault.DB.SelectContext(ctx, &problems, `SELECT * FROM cloakroom.layout_problems($1)`,
		members); err != nil {
		return false, fmt.Errorf("checking columns, indexes and views: %w", pg.Redact(err))
	}
	readable = true
	for _, p := range problems {
		w.fail(Failure{Part: p.Part, Problem: p.Problem})
		readable = readable && !p.Unreadable
	}
	return readable, nil
}
