package keys

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/pg"
)

// Row is a stored row as verify and rotation read it. Sealed has the order of the dataset's protected members, and the
// tokens of each version that of its indexes.
type Row struct {
	ID      uuid.UUID
	Sent    time.Time // with ID, the row's key
	Date    time.Time
	Subject string             // empty if the dataset has none
	DataKey sql.NullInt32      // NULL once erased
	Sealed  [][]byte           // nil where NULL was sent, or erased
	Tokens  [][]sql.NullString // by version, then by index
}

// RowColumns is the select list that AppendRows reads, of every function that returns pages of rows.
const RowColumns = `row_id, sent, create_date, subject, data_key, sealed, tokens`

// AppendRows appends all rows of a query for RowColumns to page, and closes it. The query asked for the tokens of so many
// versions of the index key.
func AppendRows(page []Row, found *sql.Rows, versions int) ([]Row, error) {
	defer found.Close()
	for found.Next() {
		r, err := scanRow(found, versions)
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

func scanRow(found *sql.Rows, versions int) (Row, error) {
	r := Row{Tokens: make([][]sql.NullString, versions)}
	var subject sql.NullString
	var tokens []sql.NullString
	err := found.Scan(&r.ID, &r.Sent, &r.Date, &subject, &r.DataKey, (*pq.ByteaArray)(&r.Sealed), pq.Array(&tokens))
	if err != nil {
		return r, err
	}
	r.Subject = subject.String
	for v := range r.Tokens {
		n := len(tokens) / versions
		r.Tokens[v] = tokens[v*n : (v+1)*n]
	}
	return r, nil
}

// Place is what a field's sealed value is bound to. Another row's value, or another field's, does
// not open there.
func (r *Row) Place(vault uuid.UUID, d *dataset.Dataset, field string) envelope.Place {
	return envelope.Place{
		Vault: vault, Dataset: d.Name, Field: field, Row: r.ID,
		Date: r.Date.Format(time.DateOnly), Subject: r.Subject,
	}
}

// RejectionPlace is what a rejected event's body is bound to: its message id only, since its date and subject may be
// unreadable.
func RejectionPlace(vault uuid.UUID, datasetName string, id uuid.UUID) envelope.Place {
	return envelope.Place{Vault: vault, Dataset: datasetName, Field: dataset.BodyField, Row: id}
}
