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
	Sealed  []byte    `db:"sealed_body"`
	DataKey uint32    `db:"data_key"`
}

func (w *rejectionResealer) batch(ctx context.Context, s session, at slice) (batch, error) {
	var page []sealedRejection
	if err := s.list(ctx, &page, `
		SELECT message_id, sealed_body, data_key FROM cloakroom.reseal_rejections_page($1, $2, $3, $4, $5)`,
		w.rotation, day(at.Month), at.AfterID, rejectionRows, rejectionBytes); err != nil || len(page) == 0 {
		return batch{done: true}, err
	}
	size := 0
	for i := range page {
		size += len(page[i].Sealed)
	}
	newKey := sync.OnceValues(func() (*keys.SealingKey, error) { return w.acquire(ctx, at.Month, len(page), size) })
	var names textArray
	var old, new pq.ByteaArray
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

// resealBody opens a rejection's body and seals it under another key.
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
	return sealAndCompare(nil, key.Key, &w.scratch, &place, dataset.BodyPad, w.text, &w.again)
}
