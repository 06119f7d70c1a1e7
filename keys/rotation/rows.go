package rotation

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/keys"
)

// rowReader reads pages of rows. A page is valid until the next one is read.
type rowReader struct {
	*job
	versions []uint32 // of the index key whose tokens are read, too
	columns  string
	page     []keys.Row
}

func newRowReader(j *job, versions []uint32) *rowReader {
	return &rowReader{job: j, versions: versions, columns: keys.RowColumns(j.dataset, versions)}
}

// read reads the rows that an API function returns.
func (r *rowReader) read(ctx context.Context, s session, from string, args ...any) ([]keys.Row, error) {
	found, err := s.rows(ctx, `SELECT `+r.columns+` FROM `+from, args...)
	if err != nil {
		return nil, err
	}
	r.page, err = keys.AppendRows(r.page[:0], found.Rows, len(r.protected), len(r.versions))
	return r.page, err
}

// quarantine collects the rows of a batch that do not open. Writing it is part of the batch's
// transaction.
type quarantine struct {
	ids, dates textArray
	keys       pq.Int32Array
	problems   pq.StringArray
}

func (q *quarantine) add(r *keys.Row, problem string) {
	q.ids, q.dates = append(q.ids, r.ID.String()), append(q.dates, day(r.Date))
	q.keys, q.problems = append(q.keys, r.DataKey.Int32), append(q.problems, problem)
}

// addRejection adds a rejection. It has no date: -infinity tells it from a row.
func (q *quarantine) addRejection(id uuid.UUID, key uint32, problem string) {
	q.ids, q.dates = append(q.ids, id.String()), append(q.dates, "-infinity")
	q.keys, q.problems = append(q.keys, int32(key)), append(q.problems, dataset.BodyField+": "+problem)
}

func (q *quarantine) write(ctx context.Context, s session, step string) error {
	if len(q.ids) == 0 {
		return nil
	}
	if err := s.exec(ctx, `SELECT cloakroom.quarantine_rows($1, $2, $3, $4, $5)`, step, q.ids, q.dates, q.keys,
		q.problems); err != nil {
		return fmt.Errorf("quarantining rows: %w", err)
	}
	return nil
}

// textArray is a text[] parameter of ids, dates or tokens, which need no quotes. An empty element
// is NULL, which pq.StringArray cannot write.
type textArray []string

// Value is the array as Postgres reads it.
func (a textArray) Value() (driver.Value, error) {
	out := append(make([]byte, 0, 2+38*len(a)), '{') // 36 bytes of a UUID, and a comma
	for i, text := range a {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, cmp.Or(text, "NULL")...)
	}
	return string(append(out, '}')), nil
}
