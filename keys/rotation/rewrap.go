package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
// A KEK that is lost, disabled, denied, not configured or not the vault's is an error before anything
// changes. A key that does not unwrap is named in the report and left as it is, the others are rewrapped, and
// keys.ErrQuarantined is returned.
func Rewrap(ctx context.Context, v *keys.Vault, to string, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error { return j.rewrap(ctx, to, r) })
}

// wrappedKey is a data key or a version of the index key, as its vault row has it.
type wrappedKey struct {
	Purpose kek.Purpose `db:"purpose"`
	ID      uint32      `db:"id"`
	keys.WrappedKey
}

// BadKey is a key that does not unwrap.
type BadKey struct {
	Key     string `json:"key"` // data key 7, index key v1
	Problem string `json:"problem"`
}

func (j *job) rewrap(ctx context.Context, to string, r *Report) error {
	target, err := j.vault.Target(ctx, j.settings, to)
	if err != nil {
		return fmt.Errorf("rewrapping under %s: nothing was changed: %w", to, err)
	}
	var all []wrappedKey
	err = j.call(ctx, "listing wrapped keys", func(s session) error {
		all = nil
		return s.list(ctx, &all, `SELECT * FROM cloakroom.wrapped_keys()`)
	})
	if err != nil {
		return err
	}
	// Compare the id, not the URI: an alias may name another KMS key by now.
	due := slices.DeleteFunc(all, func(k wrappedKey) bool { return k.KEKID == target })
	bad := badKeys{}
	if err := j.tryRewrap(ctx, due, to, bad); err != nil {
		return fmt.Errorf("rewrapping under %s: nothing was changed: %w", to, err)
	}
	if j.o.DryRun {
		r.Rewrapped = len(due) - len(bad)
		return nil
	}
	r.Rewrapped, err = j.rewrapAll(ctx, due, to, bad)
	return errors.Join(err, bad.report(r))
}

// badKeys are the problems of keys that do not unwrap.
type badKeys map[kek.Binding]string

// report adds them to the report, and returns ErrQuarantined if there are some.
func (bad badKeys) report(r *Report) error {
	byKey := func(a, b kek.Binding) int {
		return cmp.Or(cmp.Compare(a.Purpose, b.Purpose), cmp.Compare(a.Key, b.Key))
	}
	for _, b := range slices.SortedFunc(maps.Keys(bad), byKey) {
		r.BadKeys = append(r.BadKeys, BadKey{b.String(), bad[b]})
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("keys do not unwrap and are left as they are: %w", keys.ErrQuarantined)
}

// rewrapBatch is how many keys are stored in one transaction, with one leaf of the log.
const rewrapBatch = 200

// rewrapsAtOnce bounds the concurrent calls to the KEK.
const rewrapsAtOnce = 16

// rewrapAll returns how many keys this run rewrapped. What was stored is logged, whatever comes after it.
func (j *job) rewrapAll(ctx context.Context, due []wrappedKey, to string, bad badKeys) (rewrapped int, err error) {
	var looked atomic.Int64
	var mu sync.Mutex
	for batch := range slices.Chunk(due, rewrapBatch) {
		wrapped := make([]kek.Wrapped, len(batch)) // without a blob: bad
		group, all := errgroup.WithContext(ctx)
		group.SetLimit(rewrapsAtOnce)
		for i, k := range batch {
			group.Go(func() error {
				w, err := j.wrapChecked(all, k, to)
				if problem, isData := keys.DataProblem(err); isData {
					mu.Lock()
					defer mu.Unlock()
					bad[j.binding(k.Purpose, k.ID)] = problem
					return nil
				}
				if err != nil {
					return err
				}
				wrapped[i] = w
				j.o.Progress(Progress{Step: "rewrap", Done: looked.Add(1), Rows: int64(len(due))})
				return j.throttle.wait(all, 1, 0)
			})
		}
		if err := group.Wait(); err != nil {
			return rewrapped, err
		}
		n, err := j.storeRewrapped(ctx, batch, wrapped)
		rewrapped += n
		if err != nil {
			return rewrapped, err
		}
	}
	return rewrapped, nil
}

// storeRewrapped stores a batch, and returns how many keys changed: another rotator may have rewrapped some, and
// some may have been shredded. Keys whose KEK has another id are stored apart: an alias may move meanwhile.
func (j *job) storeRewrapped(ctx context.Context, batch []wrappedKey, wrapped []kek.Wrapped) (changed int, err error) {
	byKEK := map[string][]int{}
	for i, w := range wrapped {
		if w.Blob != nil {
			byKEK[w.KEKID] = append(byKEK[w.KEKID], i)
		}
	}
	for id, of := range byKEK {
		var purposes pq.StringArray
		var keyIDs pq.Int32Array
		var before, after pq.ByteaArray
		for _, i := range of {
			purposes, keyIDs = append(purposes, string(batch[i].Purpose)), append(keyIDs, int32(batch[i].ID))
			before, after = append(before, batch[i].Wrapped), append(after, wrapped[i].Blob)
		}
		var n int
		err := j.tx(ctx, "storing rewrapped keys", func(s session) error {
			return s.get(ctx, &n, `SELECT cardinality(data_keys) + cardinality(index_keys)
				FROM cloakroom.rewrap_keys($1, $2, $3, $4, $5)`, id, purposes, keyIDs, before, after)
		})
		if err != nil {
			return changed, err
		}
		changed += n
	}
	return changed, nil
}

// tryRewrap rewraps one key of each KEK and purpose that is not bad, and discards the result.
func (j *job) tryRewrap(ctx context.Context, due []wrappedKey, to string, bad badKeys) error {
	tried := map[string]bool{}
	for _, k := range due {
		source := k.KEKID + " " + string(k.Purpose)
		if tried[source] {
			continue
		}
		_, err := j.wrapChecked(ctx, k, to)
		problem, isData := keys.DataProblem(err)
		switch {
		case isData:
			bad[j.binding(k.Purpose, k.ID)] = problem
		case err != nil:
			return err
		default:
			tried[source] = true
		}
	}
	return nil
}

// wrapChecked wraps a key under another KEK and proves that it unwraps to the same key: by its key
// check, or between two KMS keys by a second ReEncrypt, which package kek does.
func (j *job) wrapChecked(ctx context.Context, k wrappedKey, to string) (kek.Wrapped, error) {
	b := j.binding(k.Purpose, k.ID)
	if err := j.vault.RequireKnown(ctx, k.KEKID); err != nil {
		return kek.Wrapped{}, fmt.Errorf("rewrapping %s: %w", b, err)
	}
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
