package etl

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
)

// FixSource records a file source of the default dataset in the vault. It returns the date of its events, which the
// source's first run fixed.
func (w *Writer) FixSource(ctx context.Context, name string, date time.Time) (time.Time, error) {
	var fixed time.Time
	err := w.vault.DB.GetContext(ctx, &fixed, `SELECT cloakroom.fix_source($1, $2, $3)`, name, w.Default(),
		date.Format(time.DateOnly))
	if err != nil {
		return time.Time{}, fmt.Errorf("recording the source: %w", pg.Redact(err))
	}
	return fixed.UTC(), nil
}

// SourceRecord is what the vault knows of a source.
type SourceRecord struct {
	Name     string    `db:"name"`
	Date     time.Time `db:"create_date"` // of its events, as the first run fixed it
	Seen     bool      `db:"seen"`        // it was recorded before this call
	Position int64     `db:"position"`    // how many of its first events are committed
	Finished bool      `db:"finished"`    // and these are all
}

// FixSources records many sources of the default dataset, with the dates at the same places, and returns what the vault
// knows of them by name.
func (w *Writer) FixSources(ctx context.Context, names []string, dates []time.Time) (map[string]SourceRecord, error) {
	days := make([]string, len(dates))
	for i, d := range dates {
		days[i] = d.Format(time.DateOnly)
	}
	var records []SourceRecord
	err := w.vault.DB.SelectContext(ctx, &records, `SELECT * FROM cloakroom.fix_sources($1, $2, $3)`, w.Default(),
		pq.StringArray(names), pq.StringArray(days))
	if err != nil {
		return nil, fmt.Errorf("recording the sources: %w", pg.Redact(err))
	}
	out := make(map[string]SourceRecord, len(records))
	for _, r := range records {
		r.Date = r.Date.UTC()
		out[r.Name] = r
	}
	return out, nil
}

// NoteSources records how far sources have come: Name, Position and Finished of each. What it says must be committed.
func (w *Writer) NoteSources(ctx context.Context, sources []SourceRecord) error {
	names := make([]string, len(sources))
	positions := make([]int64, len(sources))
	finished := make([]bool, len(sources))
	for i, s := range sources {
		names[i], positions[i], finished[i] = s.Name, s.Position, s.Finished
	}
	_, err := w.vault.DB.ExecContext(ctx, `SELECT cloakroom.note_sources($1, $2, $3, $4)`, w.Default(),
		pq.StringArray(names), pq.Int64Array(positions), pq.BoolArray(finished))
	if err != nil {
		return fmt.Errorf("noting how far the sources have come: %w", pg.Redact(err))
	}
	return nil
}
