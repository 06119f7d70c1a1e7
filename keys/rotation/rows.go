package rotation

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/keys"
)

// rowReader reads pages of rows. A page is valid until the next one is read.
type rowReader struct {
	*job
	versions int // of the index key, whose tokens are read, too
	page     []keys.Row
}

// read reads the rows that an API function returns.
func (r *rowReader) read(ctx context.Context, s session, from string, args ...any) ([]keys.Row, error) {
	found, err := s.rows(ctx, `SELECT `+keys.RowColumns+` FROM `+from, args...)
	if err != nil {
		return nil, err
	}
	if r.page, err = keys.AppendRows(r.page[:0], found.Rows, r.versions); err != nil || len(r.page) == 0 {
		return r.page, err
	}
	// The page has the columns of the definition that is in force, in its order. If the epoch is still the one at which the
	// job read the definitions, that is the one it knows.
	var epoch int64
	if err := s.get(ctx, &epoch, `SELECT epoch FROM cloakroom.vault()`); err != nil {
		return nil, err
	}
	if epoch != r.epoch.Load() {
		return nil, errStale
	}
	return r.page, nil
}

// errStale says that the epoch was raised: settings and definitions have to be read again.
var errStale = errors.New("the vault's epoch was raised")

// quarantine collects the rows of a batch that do not open. Writing it is part of the batch's
// transaction.
type quarantine struct {
	rejections bool // else rows
	ids, sents textArray
	keys       pq.Int32Array
	problems   pq.StringArray
}

func (q *quarantine) add(id uuid.UUID, sent string, key int32, problem string) {
	q.ids, q.sents = append(q.ids, id.String()), append(q.sents, sent)
	q.keys, q.problems = append(q.keys, key), append(q.problems, problem)
}

func (q *quarantine) addRow(r *keys.Row, problem string) {
	q.add(r.ID, positionOf(r).Sent, r.DataKey.Int32, problem)
}

func (q *quarantine) write(ctx context.Context, s session, step, dataset string) error {
	if len(q.ids) == 0 {
		return nil
	}
	if err := s.exec(ctx, `SELECT cloakroom.quarantine_rows($1, $2, $3, $4, $5, $6, $7)`,
		step, dataset, q.rejections, q.ids, q.sents, q.keys, q.problems); err != nil {
		return fmt.Errorf("quarantining rows: %w", err)
	}
	return nil
}

// textArray is a text[] parameter of ids, times or tokens, which need no quotes. An empty element is NULL, which
// pq.StringArray cannot write.
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
