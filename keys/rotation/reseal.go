package rotation

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/crypto/envelope"
	"cloakroom/keys"
)

// reseal moves what closed data keys made before a time hold to new data keys, or resumes the reseal that is under way.
func (j *job) reseal(ctx context.Context, madeBefore time.Time, report *Report) error {
	var begun struct {
		Rotation *int64        `db:"rotation"`
		DataKeys pq.Int32Array `db:"data_keys"`
		Resumed  *bool         `db:"resumed"`
	}
	err := j.call(ctx, "beginning to reseal", func(s session) error {
		return s.get(ctx, &begun, `SELECT * FROM cloakroom.begin_reseal($1)`, madeBefore)
	})
	if err != nil || begun.Rotation == nil {
		return err
	}
	report.Due = ids(begun.DataKeys)
	newWorker := func(name string) worker {
		if name == "rejections" {
			return &rejectionResealer{job: j, rotation: *begun.Rotation}
		}
		return newResealer(j, *begun.Rotation)
	}
	changed, err := j.complete(ctx, *begun.Rotation, []string{"reseal", "rejections"}, newWorker, func() (int64, error) {
		var left int64
		err := j.tx(ctx, "counting what is left to reseal", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.finish_reseal($1)`, *begun.Rotation)
		})
		return left, err
	})
	report.Resealed += changed["reseal"]
	report.Rejections += changed["rejections"]
	return j.quarantine(ctx, "reseal", report, err)
}

// resealer reseals rows. What it makes of a batch or of a row it makes in the memory of the last.
type resealer struct {
	*rowReader
	rotation int64
	made     replacement
	sealed   [][]byte // a row's new values, by member
	scratch  envelope.Scratch
	text     []byte
	again    []byte
}

func newResealer(j *job, rotation int64) *resealer {
	n := len(j.protected)
	return &resealer{rowReader: newRowReader(j, nil), rotation: rotation, made: replacement{members: make([]parts, n)}, sealed: make([][]byte, n)}
}

// replacement is what is to be written over a page of rows, for the owner's function.
type replacement struct {
	ids, dates textArray
	members    []parts
	all        parts
}

func (r *replacement) reset() {
	r.ids, r.dates = r.ids[:0], r.dates[:0]
	for i := range r.members {
		r.members[i].reset()
	}
}

// flat is the parts of all members, one member after the other.
func (r *replacement) flat() parts {
	r.all.reset()
	for _, p := range r.members {
		for _, end := range p.ends {
			r.all.ends = append(r.all.ends, int32(len(r.all.bytes))+end)
		}
		r.all.bytes = append(r.all.bytes, p.bytes...)
	}
	return r.all
}

// parts are values, row after row: of each the beginning of the old one, to the end of its nonce, since no two values of a
// data key have the same, and the new one. NULL is an empty part.
type parts struct {
	bytes []byte
	ends  pq.Int32Array
}

func (p *parts) reset() { p.bytes, p.ends = p.bytes[:0], p.ends[:0] }

func (p *parts) add(old, new []byte) {
	if old != nil {
		p.bytes = append(append(p.bytes, old[:envelope.PrefixSize]...), new...)
	}
	p.ends = append(p.ends, int32(len(p.bytes)))
}

func (w *resealer) batch(ctx context.Context, s session, at slice) (batch, error) {
	rows, err := w.read(ctx, s, `cloakroom.reseal_page($1, $2, $3, $4, $5, $6)`,
		w.rotation, day(at.Month), at.AfterID, at.AfterDate, at.LastID, w.o.BatchRows)
	if err != nil || len(rows) == 0 {
		return batch{done: true}, err
	}
	newKey := sync.OnceValues(func() (*keys.SealingKey, error) { return w.sealingKey(ctx, at.Month, rows) })
	w.made.reset()
	var q quarantine
	for i := range rows {
		if err := w.add(ctx, &q, newKey, &rows[i]); err != nil {
			return batch{}, err
		}
	}
	last := rows[len(rows)-1]
	b := batch{read: len(rows), afterID: last.ID, after: day(last.Date), done: len(rows) < w.o.BatchRows}
	if len(w.made.ids) > 0 {
		key, err := newKey()
		if err != nil {
			return batch{}, err
		}
		all := w.made.flat()
		if err := s.get(ctx, &b.changed, `SELECT cloakroom.reseal_parts($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			w.epoch.Load(), day(at.Month), w.members, w.made.ids, w.made.dates, all.ends, all.bytes, key.ID(), key.Check[:]); err != nil {
			return batch{}, err
		}
	}
	return b, q.write(ctx, s, "reseal")
}

// sealingKey is a data key of the month with room for the rows. Their sealed sizes stand for those of their texts.
func (j *job) sealingKey(ctx context.Context, month time.Time, rows []keys.Row) (*keys.SealingKey, error) {
	seals, size := 0, 0
	for i := range rows {
		for _, sealed := range rows[i].Sealed {
			seals++
			size += len(sealed)
		}
	}
	return j.acquire(ctx, month, seals, size)
}

func (j *job) acquire(ctx context.Context, month time.Time, seals, size int) (*keys.SealingKey, error) {
	key, err := j.issuer.Acquire(ctx, month, uint64(seals), uint64(size))
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.newKeys[key.ID()] = true
	return key, nil
}

// sealingKeyFunc gives the data key to seal a batch under. It is called once a value of the batch has been opened: a run that
// opens nothing makes no data key.
type sealingKeyFunc func() (*keys.SealingKey, error)

// add reseals one row, or puts it into quarantine.
func (w *resealer) add(ctx context.Context, q *quarantine, to sealingKeyFunc, row *keys.Row) error {
	opening, err := w.ring.Key(ctx, uint32(row.DataKey.Int32))
	if problem, isData := keys.DataProblem(err); isData {
		q.add(row, problem)
		return nil
	}
	if err != nil {
		return err
	}
	place := row.Place(w.settings.ID, w.dataset, "")
	for i, sealed := range row.Sealed {
		if sealed == nil {
			continue
		}
		err = w.resealField(opening, to, row, &place, i)
		if problem, isData := keys.DataProblem(err); isData {
			q.add(row, w.protected[i].Name+": "+problem)
			return nil
		}
		if err != nil {
			return err
		}
	}
	w.made.ids, w.made.dates = append(w.made.ids, row.ID.String()), append(w.made.dates, place.Date)
	for i, old := range row.Sealed {
		w.made.members[i].add(old, w.sealed[i])
	}
	return nil
}

// resealField opens a value and seals it under another key; what it makes was opened and compared.
func (w *resealer) resealField(from *envelope.Key, to sealingKeyFunc, row *keys.Row, place *envelope.Place, i int) error {
	pad := w.protected[i].Protect.Pad
	place.Field = w.protected[i].Name
	defer func() { clear(w.text); clear(w.again) }()
	var err error
	if w.text, err = from.Open(w.text[:0], &w.scratch, place, pad, row.Sealed[i]); err != nil {
		return err
	}
	key, err := to()
	if err != nil {
		return err
	}
	w.sealed[i], err = reseal(w.sealed[i][:0], key.Key, &w.scratch, place, pad, w.text, &w.again)
	return err
}

// reseal appends a text sealed to dst and opens what it made. A difference would be a fault of this machine, and stops the
// job.
func reseal(dst []byte, key *envelope.Key, s *envelope.Scratch, place *envelope.Place, pad int, text []byte, again *[]byte) ([]byte, error) {
	sealed, err := key.Seal(dst, s, place, pad, text)
	if err != nil {
		return dst, fmt.Errorf("sealing under data key %d: %w", key.ID(), err)
	}
	*again, err = key.Open((*again)[:0], s, place, pad, sealed[len(dst):])
	if err != nil || !bytes.Equal(*again, text) {
		return dst, fmt.Errorf("opening what data key %d has just sealed: it is not what was sealed; nothing was written, check this machine's memory", key.ID())
	}
	return sealed, nil
}

// rejectionResealer reseals rejections.
type rejectionResealer struct {
	*job
	rotation int64
	scratch  envelope.Scratch
	text     []byte
	again    []byte
}

// Bounds of a page of rejections: a body may be 1 MiB.
const (
	rejectionRows  = 500
	rejectionBytes = 4 << 20
)

type sealedRejection struct {
	ID      uuid.UUID `db:"message_id"`
	Sealed  []byte    `db:"sealed_body"`
	DataKey uint32    `db:"data_key"`
}

func (w *rejectionResealer) batch(ctx context.Context, s session, at slice) (batch, error) {
	var page []sealedRejection
	if err := s.list(ctx, &page, `SELECT message_id, sealed_body, data_key FROM cloakroom.reseal_rejections_page($1, $2, $3, $4, $5)`,
		w.rotation, day(at.Month), at.AfterID, rejectionRows, rejectionBytes); err != nil || len(page) == 0 {
		return batch{done: true}, err
	}
	size := 0
	for i := range page {
		size += len(page[i].Sealed)
	}
	newKey := sync.OnceValues(func() (*keys.SealingKey, error) { return w.acquire(ctx, at.Month, len(page), size) })
	var names textArray
	var old, new byteArray
	var q quarantine
	for i := range page {
		resealed, err := w.resealBody(ctx, newKey, &page[i])
		if problem, isData := keys.DataProblem(err); isData {
			q.addRejection(page[i].ID, page[i].DataKey, problem)
			continue
		}
		if err != nil {
			return batch{}, err
		}
		names, old, new = append(names, page[i].ID.String()), append(old, page[i].Sealed), append(new, resealed)
	}
	b := batch{read: len(page), afterID: page[len(page)-1].ID, after: at.AfterDate}
	if len(names) > 0 {
		key, err := newKey()
		if err != nil {
			return batch{}, err
		}
		if err := s.get(ctx, &b.changed, `SELECT cloakroom.reseal_rejections($1, $2, $3, $4, $5, $6, $7)`,
			w.epoch.Load(), day(at.Month), names, old, new, key.ID(), key.Check[:]); err != nil {
			return batch{}, err
		}
	}
	return b, q.write(ctx, s, "reseal")
}
