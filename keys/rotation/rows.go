package rotation

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/keys"
)

// rowReader reads pages of rows, each into the memory of the last.
type rowReader struct {
	*job
	versions []uint32 // of the index key, whose tokens are read too
	columns  string
	page     []keys.Row
}

func newRowReader(j *job, versions []uint32) *rowReader {
	return &rowReader{job: j, versions: versions, columns: keys.RowColumns(j.dataset, versions)}
}

// read reads the rows that one of the owner's functions hands out.
func (r *rowReader) read(ctx context.Context, s session, from string, args ...any) ([]keys.Row, error) {
	found, err := s.rows(ctx, `SELECT `+r.columns+` FROM `+from, args...)
	if err != nil {
		return nil, err
	}
	r.page, err = keys.AppendRows(r.page[:0], found.Rows, len(r.protected), len(r.versions))
	return r.page, err
}

func (w *rejectionResealer) resealBody(ctx context.Context, to sealingKeyFunc, r *sealedRejection) ([]byte, error) {
	opening, err := w.ring.Key(ctx, r.DataKey)
	if err != nil {
		return nil, err
	}
	defer func() { clear(w.text); clear(w.again) }()
	place := keys.RejectionPlace(w.settings.ID, w.dataset, r.ID)
	if w.text, err = opening.Open(w.text[:0], &w.scratch, &place, dataset.BodyPad, r.Sealed); err != nil {
		return nil, err
	}
	key, err := to()
	if err != nil {
		return nil, err
	}
	return reseal(nil, key.Key, &w.scratch, &place, dataset.BodyPad, w.text, &w.again)
}

// quarantine collects the rows of a batch that do not open.
type quarantine struct {
	ids, dates textArray
	keys       pq.Int32Array
	problems   pq.StringArray
}

func (q *quarantine) add(r *keys.Row, problem string) {
	q.ids, q.dates = append(q.ids, r.ID.String()), append(q.dates, day(r.Date))
	q.keys, q.problems = append(q.keys, r.DataKey.Int32), append(q.problems, problem)
}

// addRejection quarantines a rejection, which has no date of its own in its key.
func (q *quarantine) addRejection(id uuid.UUID, key uint32, problem string) {
	q.ids, q.dates = append(q.ids, id.String()), append(q.dates, "-infinity")
	q.keys, q.problems = append(q.keys, int32(key)), append(q.problems, dataset.BodyField+": "+problem)
}

func (q *quarantine) write(ctx context.Context, s session, step string) error {
	if len(q.ids) == 0 {
		return nil
	}
	if err := s.exec(ctx, `SELECT cloakroom.quarantine_rows($1, $2, $3, $4, $5)`, step, q.ids, q.dates, q.keys, q.problems); err != nil {
		return fmt.Errorf("quarantining rows: %w", err)
	}
	return nil
}
