package verify

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// unwrapsAtOnce bounds the concurrent calls to the KEK.
const unwrapsAtOnce = 8

// checkKeys unwraps every data key that still has wrapped bytes, and lists closed keys that nothing
// needs, which is no fault.
func (w *verifier) checkKeys(ctx context.Context) error {
	list, err := w.vault.DataKeys(ctx)
	if err != nil {
		return err
	}
	w.report.Keys = w.indexKeys // unwrapped already
	group, unwrapping := errgroup.WithContext(ctx)
	group.SetLimit(unwrapsAtOnce)
	for _, k := range list {
		if k.State == "shredded" {
			continue
		}
		w.report.Keys++
		group.Go(func() error {
			_, err := w.ring.Key(unwrapping, k.ID)
			if problem, isData := keys.DataProblem(err); isData {
				w.fail(Failure{Key: keyName(k.ID), Problem: problem})
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := w.vault.DB.SelectContext(ctx, &w.report.Unneeded, `
		SELECT data_key FROM cloakroom.retirable_data_keys() WHERE rows + rejections = 0 ORDER BY 1`); err != nil {
		return fmt.Errorf("looking for data keys that nothing needs: %w", pg.Redact(err))
	}
	return nil
}

// findOrphans looks for rows and rejections whose data key is gone or retired. With all, those
// whose key is gone are left to the check of the rows themselves, which would report them twice.
func (w *verifier) findOrphans(ctx context.Context, all bool) error {
	var list []struct {
		Dataset string    `db:"dataset"`
		ID      uuid.UUID `db:"row_id"`
		DataKey uint32    `db:"data_key"`
		State   *string   `db:"state"` // nil: the vault has no such key
	}
	err := w.vault.DB.SelectContext(ctx, &list, `
		SELECT dataset, row_id, data_key, state FROM cloakroom.orphan_rows($1)`, maxFailures)
	if err != nil {
		return fmt.Errorf("looking for rows whose key is gone: %w", pg.Redact(err))
	}
	for _, r := range list {
		problem := keys.ErrNoKey.Error()
		if r.State != nil && *r.State == "retired" {
			problem = "the data key is retired, though this needs it: it will be destroyed"
		} else if all {
			continue
		}
		w.fail(Failure{Dataset: r.Dataset, RowID: r.ID.String(), Key: keyName(r.DataKey), Problem: problem})
	}
	return nil
}
