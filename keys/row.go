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
)

// Row is a stored row as the vault's jobs see it: where it is, and what is sealed in it. The slices follow the
// dataset's protected members.
type Row struct {
	ID      uuid.UUID
	Date    time.Time
	Subject string
	DataKey sql.NullInt32      // NULL once erased
	Sealed  [][]byte           // nil where erased
	Tokens  [][]sql.NullString // by version, then by member
}

// RowColumns is the select list that ScanRow reads.
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

// ScanRow reads one row of RowColumns.
func ScanRow(rows interface{ Scan(...any) error }, protected, versions int) (Row, error) {
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
	if err := rows.Scan(dest...); err != nil {
		return Row{}, fmt.Errorf("reading a row: %w", err)
	}
	return r, nil
}

// Place is where a field of the row is sealed.
func (r *Row) Place(vault uuid.UUID, d *dataset.Dataset, field string) envelope.Place {
	return envelope.Place{
		Vault: vault, Dataset: d.Name, Field: field, Row: r.ID,
		Date: r.Date.Format(dateLayout), Subject: r.Subject,
	}
}

// RejectionPlace is where a rejected event is sealed: under its message id alone, whoever's and whenever it was.
func RejectionPlace(vault uuid.UUID, d *dataset.Dataset, id uuid.UUID) envelope.Place {
	return envelope.Place{Vault: vault, Dataset: d.Name, Field: dataset.BodyField, Row: id}
}
