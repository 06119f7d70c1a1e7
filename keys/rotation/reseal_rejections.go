package rotation

import (
	"context"
	"sync"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// rejectionResealer reseals rejections.
type rejectionResealer struct {
	*job
	rotation int64
	scratch  envelope.Scratch
	text     []byte
	again    []byte
}

// Bounds of a page of rejections, whichever comes first: a body may have 1 MiB.
const (
	rejectionRows  = 500
	rejectionBytes = 4 << 20
)

type sealedRejection struct {
	ID      uuid.UUID `db:"message_id"`
	Sent    string    `db:"sent"` // may be infinity
	Sealed  []byte    `db:"sealed_body"`
	DataKey uint32    `db:"data_key"`
}

func (w *rejectionResealer) batch(ctx context.Context, s session, at slice) (batch, error) {
	t, err := w.target(at.Dataset)
	if err != nil {
		return batch{}, err
	}
	var page []sealedRejection
	err = s.list(ctx, &page, `
		SELECT message_id, sent::text AS sent, sealed_body, data_key
		  FROM cloakroom.reseal_rejections_page($1, $2, $3, $4, $5, $6, $7)`,
		w.rotation, at.Dataset, day(at.Part), at.After.ID, at.After.Sent, rejectionRows, rejectionBytes)
	if err != nil || len(page) == 0 {
		return batch{done: true}, err
	}
	size := 0
	for i := range page {
		size += len(page[i].Sealed)
	}
	newKey := sync.OnceValues(func() (*keys.SealingKey, error) { return w.acquire(ctx, t, at.Part, len(page), size) })
	var names, sents textArray
	var old, new pq.ByteaArray
	q := quarantine{rejections: true}
	for i := range page {
		resealed, err := w.resealBody(ctx, t, newKey, &page[i])
		if problem, isData := keys.DataProblem(err); isData {
			q.add(page[i].ID, page[i].Sent, int32(page[i].DataKey), dataset.BodyField+": "+problem)
			continue
		}
		if err != nil {
			return batch{}, err
		}
		names, sents = append(names, page[i].ID.String()), append(sents, `"`+page[i].Sent+`"`)
		old, new = append(old, page[i].Sealed), append(new, resealed)
	}
	last := page[len(page)-1]
	b := batch{read: len(page), after: position{last.Sent, last.ID}}
	if len(names) > 0 {
		key, err := newKey()
		if err != nil {
			return batch{}, err
		}
		if err := s.get(ctx, &b.changed, `SELECT cloakroom.reseal_rejections($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			w.epoch.Load(), at.Dataset, day(at.Part), names, sents, old, new, key.ID(), key.Check[:]); err != nil {
			return batch{}, err
		}
	}
	return b, q.write(ctx, s, "reseal", at.Dataset)
}

// resealBody opens a rejection's body and seals it under another key.
func (w *rejectionResealer) resealBody(
	ctx context.Context, t *target, to sealingKeyFunc, r *sealedRejection,
) ([]byte, error) {
	opening, err := w.ring.Key(ctx, r.DataKey)
	if err != nil {
		return nil, err
	}
	defer func() { clear(w.text); clear(w.again) }()
	place := keys.RejectionPlace(w.settings.ID, t.Name, r.ID)
	if w.text, err = opening.Open(w.text[:0], &w.scratch, &place, dataset.BodyPad, r.Sealed); err != nil {
		return nil, err
	}
	key, err := to()
	if err != nil {
		return nil, err
	}
	return sealAndCompare(nil, key.Key, &w.scratch, &place, dataset.BodyPad, w.text, &w.again)
}
