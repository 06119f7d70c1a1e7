package keys

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

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

// RowColumns is the select list that AppendRows reads, of every function that returns pages of rows. All comes in
// Postgres's binary form: an array as text, hex in quotes, takes twice the time.
const RowColumns = `uuid_send(row_id), timestamptz_send(sent), date_send(create_date), subject, data_key, ` +
	`array_send(sealed), array_send(tokens)`

// AppendRows appends all rows of a query for RowColumns to page, and closes it. versions is
// for how many versions of the index key the query asked for tokens.
func AppendRows(page []Row, found *sql.Rows, versions int) ([]Row, error) {
	defer found.Close()
	var s rowScanner
	for found.Next() {
		r, err := s.row(found, versions)
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

// rowScanner reads one row after the other. What it holds is valid until the next one.
type rowScanner struct {
	id, sent, date, subject, sealed, tokens sql.RawBytes
	texts                                   [][]byte
}

func (s *rowScanner) row(found *sql.Rows, versions int) (Row, error) {
	var r Row
	if err := found.Scan(&s.id, &s.sent, &s.date, &s.subject, &r.DataKey, &s.sealed, &s.tokens); err != nil {
		return r, err
	}
	var tokensOK, sealedOK bool
	s.texts, tokensOK = pg.SplitArray(s.tokens, s.texts)
	r.Sealed, sealedOK = pg.SplitArray(bytes.Clone(s.sealed), nil)
	if len(s.id) != 16 || len(s.sent) != 8 || len(s.date) != 4 || !tokensOK || !sealedOK {
		return r, errNoRow
	}
	r.ID, r.Subject = uuid.UUID(s.id), string(s.subject)
	r.Sent = time.UnixMicro(postgresEpoch.UnixMicro() + int64(binary.BigEndian.Uint64(s.sent))).UTC()
	r.Date = postgresEpoch.AddDate(0, 0, int(int32(binary.BigEndian.Uint32(s.date))))
	all := make([]sql.NullString, len(s.texts))
	for i, text := range s.texts {
		all[i] = sql.NullString{String: string(text), Valid: text != nil}
	}
	r.Tokens = make([][]sql.NullString, versions)
	for v := range r.Tokens {
		n := len(all) / versions
		r.Tokens[v] = all[v*n : (v+1)*n]
	}
	return r, nil
}

// postgresEpoch is what Postgres counts days and microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

var errNoRow = errors.New("the database sent no row where one is due")

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
