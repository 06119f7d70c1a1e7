package verify

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// rejectionPage is smaller than a page of rows: a rejected body may have 1 MiB.
const rejectionPage = 16

// checkRejections opens all rejections, or the first page of them. Erased ones are counted only.
func (w *verifier) checkRejections(ctx context.Context, all bool) error {
	var after uuid.UUID
	afterSent := "-infinity"
	for {
		var page []struct {
			Dataset string        `db:"dataset"`
			ID      uuid.UUID     `db:"message_id"`
			Sent    string        `db:"sent"` // may be infinity
			Sealed  []byte        `db:"sealed_body"`
			DataKey sql.NullInt32 `db:"data_key"` // NULL once erased
		}
		err := w.vault.DB.SelectContext(ctx, &page, `
			SELECT dataset, message_id, sent::text AS sent, sealed_body, data_key FROM cloakroom.scan_rejections($1, $2, $3)`,
			after, afterSent, rejectionPage)
		if err != nil {
			return fmt.Errorf("reading rejections: %w", pg.Redact(err))
		}
		for _, r := range page {
			w.report.Rejections++
			if !r.DataKey.Valid {
				continue
			}
			// An error is sorted below, whether the key or the body is at fault.
			key, err := w.ring.Key(ctx, uint32(r.DataKey.Int32))
			if err == nil {
				place := keys.RejectionPlace(w.settings.ID, r.Dataset, r.ID)
				_, err = key.Open(nil, nil, &place, dataset.BodyPad, r.Sealed)
			}
			if problem, isData := keys.DataProblem(err); isData {
				w.fail(Failure{Dataset: r.Dataset, RowID: r.ID.String(), Field: dataset.BodyField, Problem: problem})
				continue
			}
			if err != nil {
				return err
			}
			w.report.RejectionsOpened++
		}
		if len(page) < rejectionPage || !all {
			return nil
		}
		after, afterSent = page[len(page)-1].ID, page[len(page)-1].Sent
	}
}
