package keys

import (
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/pg"
)

// Row is a stored row as verify and rotation read it. Its slices have the order of the dataset's
// protected members.
type Row struct {
	ID      uuid.UUID
	Date    time.Time
	Subject string
	DataKey sql.NullInt32      // NULL once erased
	Sealed  [][]byte           // nil where erased
	Tokens  [][]sql.NullString // by version, then by member
}

// RowColumns is the select list that AppendRows reads: a row and its tokens of some versions of the
// index key.
func RowColumns(d *dataset.Dataset, versions []uint32) string {
	columns := []string{"message_id", "create_date", pq.QuoteIdentifier(d.Subject), "data_key"}
	for _, m := range d.Protected() {
		columns = append(columns, pq.QuoteIdentifier(m.SealedColumn()))
	}
	for _, v := range versions {
		for _, m := range d.Protected() {
			columns = append(columns, pq.QuoteIdentifier(m.TokenColumn(v)))
		}
	}
	return strings.Join(columns, ", ")
}

// AppendRows appends all rows of a query for RowColumns to page, and closes it.
func AppendRows(page []Row, found *sql.Rows, protected, versions int) ([]Row, error) {
	defer found.Close()
	for found.Next() {
		r, err := scanRow(found, protected, versions)
		if err != nil {
			return page, fmt.Errorf("reading rows: %w", pg.Redact(err))
		}
		page = append(page, r)
	}
	if err := found.Err(); err != nil {
		return page, fmt.Errorf("reading rows: %w", pg.Redact(err))
	}
	return page, nil
}

func scanRow(found *sql.Rows, protected, versions int) (Row, error) {
	r := Row{Sealed: make([][]byte, protected), Tokens: make([][]sql.NullString, versions)}
	dest := []any{&r.ID, &r.Date, &r.Subject, &r.DataKey}
	for i := range r.Sealed {
		dest = append(dest, &r.Sealed[i])
	}
	for v := range r.Tokens {
		r.Tokens[v] = make([]sql.NullString, protected)
		for i := range r.Tokens[v] {
			dest = append(dest, &r.Tokens[v][i])
		}
	}
	return r, found.Scan(dest...)
}

// Place is what a field's sealed value is bound to. Another row's value, or another field's, does
// not open there.
func (r *Row) Place(vault uuid.UUID, d *dataset.Dataset, field string) envelope.Place {
	return envelope.Place{
		Vault: vault, Dataset: d.Name, Field: field, Row: r.ID,
		Date: r.Date.Format(time.DateOnly), Subject: r.Subject,
	}
}

// RejectionPlace is what a rejected event's body is bound to: its message id only, since its date
// and subject may be unreadable.
func RejectionPlace(vault uuid.UUID, d *dataset.Dataset, id uuid.UUID) envelope.Place {
	return envelope.Place{Vault: vault, Dataset: d.Name, Field: dataset.BodyField, Row: id}
}
