package rotation

import (
	"context"
	"errors"
	"time"

	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// UndoRewrap puts back what rewraps replaced within 35 days: each key that does not unwrap gets the newest wrapping
// that does. Keys that unwrap are left alone, so it is safe to run again.
//
// It returns keys.ErrQuarantined if a key does not unwrap and nothing that is kept does.
func UndoRewrap(ctx context.Context, v *keys.Vault, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error { return j.undoRewrap(ctx, r) })
}

// replacedKey is what a rewrap replaced.
type replacedKey struct {
	Row     int64       `db:"id"`
	Purpose kek.Purpose `db:"purpose"`
	ID      uint32      `db:"key"`
	keys.WrappedKey
	At time.Time `db:"replaced_at"`
	By string    `db:"replaced_by"`
}

func (j *job) undoRewrap(ctx context.Context, r *Report) error {
	var all []wrappedKey
	var replaced []replacedKey
	err := j.call(ctx, "listing wrapped keys", func(s session) error {
		all, replaced = nil, nil
		if err := s.list(ctx, &all, `SELECT * FROM cloakroom.wrapped_keys()`); err != nil {
			return err
		}
		return s.list(ctx, &replaced, `SELECT * FROM cloakroom.replaced_keys()`)
	})
	if err != nil {
		return err
	}
	kept := map[kek.Binding][]replacedKey{}
	for _, k := range replaced {
		b := j.binding(k.Purpose, k.ID)
		kept[b] = append(kept[b], k)
	}
	lost := badKeys{}
	for _, k := range all {
		problem := j.vault.CheckWrapped(ctx, k.WrappedKey, j.binding(k.Purpose, k.ID))
		if problem == nil {
			continue
		}
		// A KEK that is away, or refuses this login, says nothing of the key.
		if errors.Is(problem, kek.ErrUnavailable) || errors.Is(problem, kek.ErrDenied) {
			return problem
		}
		restored, err := j.restoreNewest(ctx, k, kept[j.binding(k.Purpose, k.ID)])
		switch {
		case err != nil:
			return err
		case restored:
			r.Restored = append(r.Restored, j.binding(k.Purpose, k.ID).String())
		default:
			lost[j.binding(k.Purpose, k.ID)] = "it does not unwrap, and nothing that was kept of it does"
		}
	}
	return lost.report(r)
}

// restoreNewest puts back the newest of the wrappings that unwraps. It reports false where none does.
func (j *job) restoreNewest(ctx context.Context, k wrappedKey, kept []replacedKey) (restored bool, err error) {
	for _, old := range kept {
		old.KeyCheck = k.KeyCheck
		if j.vault.CheckWrapped(ctx, old.WrappedKey, j.binding(k.Purpose, k.ID)) != nil {
			continue
		}
		if j.o.DryRun {
			return true, nil
		}
		err := j.tx(ctx, "restoring a key", func(s session) error {
			return s.get(ctx, &restored, `SELECT cloakroom.restore_key($1, $2)`, old.Row, k.Wrapped)
		})
		return restored, err
	}
	return false, nil
}

func (j *job) binding(p kek.Purpose, id uint32) kek.Binding {
	return kek.Binding{Vault: j.settings.ID, Purpose: p, Key: id}
}
