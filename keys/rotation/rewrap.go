package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// Rewrap wraps every key under the KEK at the URI to, which must be one of the vault's set. Keys
// that are under it already are left alone. Between two KMS keys no plaintext leaves KMS.
//
// A KEK that is lost, disabled, denied or not configured is an error before anything changes.
func Rewrap(ctx context.Context, v *keys.Vault, to string, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error { return j.rewrap(ctx, to, r) })
}

// wrappedKey is a data key or a version of the index key, as its vault row has it.
type wrappedKey struct {
	Purpose kek.Purpose `db:"purpose"`
	ID      uint32      `db:"id"`
	keys.WrappedKey
}

func (j *job) rewrap(ctx context.Context, to string, r *Report) error {
	var all []wrappedKey
	err := j.call(ctx, "listing wrapped keys", func(s session) error {
		return s.list(ctx, &all, `SELECT * FROM cloakroom.wrapped_keys()`)
	})
	if err != nil {
		return err
	}
	// Compare the URI, not the id: a new alias for the same KMS key is recorded, too.
	due := slices.DeleteFunc(all, func(k wrappedKey) bool { return k.KEK == to })
	if err := j.tryRewrap(ctx, due, to); err != nil {
		return fmt.Errorf("rewrapping under %s: nothing was changed: %w", to, err)
	}
	if j.o.DryRun {
		r.Rewrapped = len(due)
		return nil
	}
	if len(due) == 0 {
		return nil
	}
	err = j.tx(ctx, "logging the start of a rewrap", func(s session) error {
		index := 0
		for _, k := range due {
			if k.Purpose == kek.Index {
				index++
			}
		}
		return s.exec(ctx, `SELECT cloakroom.begin_rewrap($1, $2, $3)`, to, len(due)-index, index)
	})
	if err != nil {
		return err
	}
	dataKeys, indexKeys, err := j.rewrapAll(ctx, due, to)
	r.Rewrapped = len(dataKeys) + indexKeys
	// Log what was rewrapped even if the run failed or was cancelled.
	return errors.Join(err, j.logRewrap(context.WithoutCancel(ctx), to, dataKeys, indexKeys))
}

// rewrapAll returns the ids of the data keys, and how many index keys, that this run rewrapped.
func (j *job) rewrapAll(
	ctx context.Context, due []wrappedKey, to string,
) (dataKeys pq.Int32Array, indexKeys int, err error) {
	var mu sync.Mutex
	var looked atomic.Int64
	dataKeys = pq.Int32Array{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rewrapsAtOnce)
	for _, k := range due {
		group.Go(func() error {
			changed, err := j.rewrapKey(ctx, k, to)
			if err != nil {
				return err
			}
			j.o.Progress(Progress{Step: "rewrap", Done: looked.Add(1), Rows: int64(len(due))})
			mu.Lock()
			switch {
			case !changed: // another rotator rewrapped it, or it was shredded
			case k.Purpose == kek.Index:
				indexKeys++
			default:
				dataKeys = append(dataKeys, int32(k.ID))
			}
			mu.Unlock()
			return j.throttle.wait(ctx, 1, 0)
		})
	}
	err = group.Wait()
	slices.Sort(dataKeys)
	return dataKeys, indexKeys, err
}

func (j *job) logRewrap(ctx context.Context, to string, dataKeys pq.Int32Array, indexKeys int) error {
	if indexKeys == 0 && len(dataKeys) == 0 {
		return nil
	}
	return j.tx(ctx, "logging the rewrap", func(s session) error {
		return s.exec(ctx, `SELECT cloakroom.log_rewrap($1, $2, $3)`, to, dataKeys, indexKeys)
	})
}

// rewrapsAtOnce bounds the concurrent calls to the KEK.
const rewrapsAtOnce = 16

// tryRewrap rewraps one key of each KEK and purpose, and discards the result.
func (j *job) tryRewrap(ctx context.Context, due []wrappedKey, to string) error {
	tried := map[string]bool{}
	for _, k := range due {
		source := k.KEKID + " " + string(k.Purpose)
		if tried[source] {
			continue
		}
		tried[source] = true
		if _, err := j.wrapChecked(ctx, k, to); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) rewrapKey(ctx context.Context, k wrappedKey, to string) (bool, error) {
	w, err := j.wrapChecked(ctx, k, to)
	if err != nil {
		return false, err
	}
	var changed bool
	err = j.call(ctx, "storing the rewrapped key", func(s session) error {
		return s.get(ctx, &changed, `SELECT cloakroom.rewrap_key($1, $2, $3, $4, $5, $6)`, k.Purpose, k.ID, k.Wrapped,
			w.KEK, w.KEKID, w.Blob)
	})
	return changed, err
}

// wrapChecked wraps a key under another KEK and proves that it unwraps to the same key: by its key
// check, or between two KMS keys by a second ReEncrypt, which package kek does.
func (j *job) wrapChecked(ctx context.Context, k wrappedKey, to string) (kek.Wrapped, error) {
	b := kek.Binding{Vault: j.settings.ID, Purpose: k.Purpose, Key: k.ID}
	w, err := j.vault.KEK.Rewrap(ctx, kek.Wrapped{KEK: k.KEK, KEKID: k.KEKID, Blob: k.Wrapped}, b, to)
	if err != nil {
		return kek.Wrapped{}, err
	}
	if strings.HasPrefix(k.KEKID, "arn:") && strings.HasPrefix(w.KEKID, "arn:") {
		return w, nil
	}
	rewrapped := keys.WrappedKey{KEK: w.KEK, KEKID: w.KEKID, Wrapped: w.Blob, KeyCheck: k.KeyCheck}
	return w, j.vault.CheckWrapped(ctx, rewrapped, b)
}
