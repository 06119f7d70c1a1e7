package rotation

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lib/pq"

	"cloakroom/crypto/envelope"
	"cloakroom/keys"
)

// resealer reseals rows. It reuses its buffers from batch to batch.
type resealer struct {
	*rowReader
	rotation int64
	target   *target // of the batch
	made     replacement
	sealed   [][]byte // a row's new values, by member
	scratch  envelope.Scratch
	text     []byte
	again    []byte
}

func newResealer(j *job, rotation int64) *resealer {
	return &resealer{rowReader: &rowReader{job: j}, rotation: rotation}
}

// replacement is a page of resealed rows, as cloakroom.reseal_parts takes it.
type replacement struct {
	ids, sents textArray
	members    []parts
	all        parts
}

// reset empties it, for rows of a given number of members.
func (r *replacement) reset(members int) {
	r.ids, r.sents = r.ids[:0], r.sents[:0]
	if len(r.members) != members {
		r.members = make([]parts, members)
	}
	for i := range r.members {
		r.members[i].reset()
	}
}

// flat joins the parts of all members, one member after the other.
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

// parts are values, row after row: the prefix of the old value, up to the end of its nonce, then
// the whole new value. The prefix tells which value is replaced, since no two values of a data key
// have the same nonce. NULL is an empty part.
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
	var err error
	if w.target, err = w.job.target(at.Dataset); err != nil {
		return batch{}, err
	}
	rows, err := w.read(ctx, s, `cloakroom.reseal_page($1, $2, $3, $4, $5, $6, $7)`,
		w.rotation, at.Dataset, day(at.Part), at.After.Sent, at.After.ID, at.Last, w.o.BatchRows)
	if err != nil || len(rows) == 0 {
		return batch{done: true}, err
	}
	newKey := sync.OnceValues(func() (*keys.SealingKey, error) {
		return w.sealingKey(ctx, w.target, keys.MonthOf(at.Part), rows)
	})
	w.made.reset(len(w.target.protected))
	if len(w.sealed) != len(w.target.protected) {
		w.sealed = make([][]byte, len(w.target.protected))
	}
	var q quarantine
	for i := range rows {
		if err := w.add(ctx, &q, newKey, &rows[i]); err != nil {
			return batch{}, err
		}
	}
	b := batch{read: len(rows), after: positionOf(&rows[len(rows)-1]), done: len(rows) < w.o.BatchRows}
	if len(w.made.ids) > 0 {
		key, err := newKey()
		if err != nil {
			return batch{}, err
		}
		all := w.made.flat()
		err = s.get(ctx, &b.changed, `SELECT cloakroom.reseal_parts($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			w.epoch.Load(), at.Dataset, day(at.Part), w.made.ids, w.made.sents, all.ends, all.bytes, key.ID(), key.Check[:])
		if err != nil {
			return batch{}, err
		}
	}
	return b, q.write(ctx, s, "reseal", at.Dataset)
}

// sealingKey acquires a data key of the dataset and month for a page. The sealed sizes, a little larger, stand for those
// of the texts.
func (j *job) sealingKey(ctx context.Context, t *target, month time.Time, rows []keys.Row) (*keys.SealingKey, error) {
	seals, size := 0, 0
	for i := range rows {
		for _, sealed := range rows[i].Sealed {
			seals++
			size += len(sealed)
		}
	}
	return j.acquire(ctx, t, month, seals, size)
}

func (j *job) acquire(ctx context.Context, t *target, month time.Time, seals, size int) (*keys.SealingKey, error) {
	key, err := t.issuer.Acquire(ctx, month, uint64(seals), uint64(size))
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.newKeys[key.ID()] = true
	return key, nil
}

// sealingKeyFunc gives the data key to seal a batch under. It is called only after a value of the
// batch was opened, so that a run that can open nothing makes no data key.
type sealingKeyFunc func() (*keys.SealingKey, error)

// add reseals one row, or quarantines it.
func (w *resealer) add(ctx context.Context, q *quarantine, to sealingKeyFunc, row *keys.Row) error {
	opening, err := w.ring.Key(ctx, uint32(row.DataKey.Int32))
	if problem, isData := keys.DataProblem(err); isData {
		q.addRow(row, problem)
		return nil
	}
	if err != nil {
		return err
	}
	place := row.Place(w.settings.ID, w.target.Dataset, "")
	for i, sealed := range row.Sealed {
		if sealed == nil {
			continue
		}
		err = w.resealField(opening, to, row, &place, i)
		if problem, isData := keys.DataProblem(err); isData {
			q.addRow(row, w.target.protected[i].Name+": "+problem)
			return nil
		}
		if err != nil {
			return err
		}
	}
	w.made.ids, w.made.sents = append(w.made.ids, row.ID.String()), append(w.made.sents, positionOf(row).Sent)
	for i, old := range row.Sealed {
		w.made.members[i].add(old, w.sealed[i])
	}
	return nil
}

// resealField opens member i's value and seals it under another key.
func (w *resealer) resealField(from *envelope.Key, to sealingKeyFunc, row *keys.Row, place *envelope.Place, i int) error {
	pad := w.target.protected[i].Protect.Pad
	place.Field = w.target.protected[i].Name
	defer func() { clear(w.text); clear(w.again) }()
	var err error
	if w.text, err = from.Open(w.text[:0], &w.scratch, place, pad, row.Sealed[i]); err != nil {
		return err
	}
	key, err := to()
	if err != nil {
		return err
	}
	w.sealed[i], err = sealAndCompare(w.sealed[i][:0], key.Key, &w.scratch, place, pad, w.text, &w.again)
	return err
}

// sealAndCompare appends a sealed text to dst, then opens it and compares. A difference is a fault
// of this machine and stops the job: the old value is about to be overwritten.
func sealAndCompare(
	dst []byte, key *envelope.Key, s *envelope.Scratch, place *envelope.Place, pad int, text []byte, again *[]byte,
) ([]byte, error) {
	sealed, err := key.Seal(dst, s, place, pad, text)
	if err != nil {
		return dst, fmt.Errorf("sealing under data key %d: %w", key.ID(), err)
	}
	*again, err = key.Open((*again)[:0], s, place, pad, sealed[len(dst):])
	if err != nil || !bytes.Equal(*again, text) {
		return dst, fmt.Errorf("opening what data key %d has just sealed: it opens to something else; nothing "+
			"was written: check this machine's memory", key.ID())
	}
	return sealed, nil
}
