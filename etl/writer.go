package etl

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// Writer is what all protectors and loaders of a process share: the vault, its state as last read,
// and the data keys.
type Writer struct {
	vault   *keys.Vault
	dataset *dataset.Dataset
	issuer  *keys.Issuer
	state   atomic.Pointer[writerState]
	refresh sync.Mutex
}

// writerState is the vault's state under which events are protected; the load refuses one that has
// passed.
type writerState struct {
	settings keys.Settings
	index    []keys.IndexKey
	now      func() time.Time

	columns          []string // of a row, as writeRow writes it
	rejectionColumns []string
}

// outside reports whether a date lies outside the policy's window. This is the only judge of an
// event's day: load() compares the clock with the database's, and refuses the batch, never an
// event, where they differ.
func (s *writerState) outside(date time.Time) bool {
	today := s.now().UTC().Truncate(24 * time.Hour)
	first, last := today.AddDate(0, 0, -s.settings.DaysBack), today.AddDate(0, 0, s.settings.DaysAhead)
	return date.Before(first) || date.After(last)
}

// NewWriter reads the vault's state and unwraps the index key. It fails where this host's clock and
// the database's differ.
func NewWriter(ctx context.Context, v *keys.Vault, d *dataset.Dataset, caps keys.Caps) (*Writer, error) {
	w := &Writer{vault: v, dataset: d}
	state, err := w.read(ctx)
	if err != nil {
		return nil, err
	}
	if w.issuer, err = keys.NewIssuer(v, state.settings, caps); err != nil {
		return nil, err
	}
	w.state.Store(state)
	return w, nil
}

func (w *Writer) read(ctx context.Context) (*writerState, error) {
	// Between two reads, the load of each batch compares them.
	if err := w.vault.CompareClocks(ctx); err != nil {
		return nil, err
	}
	// The epoch first: if a rotation step comes between, the load refuses the older epoch and all
	// is read again.
	s, err := w.vault.Settings(ctx)
	if err != nil {
		return nil, err
	}
	index, err := w.vault.IndexKeys(ctx, s, w.dataset)
	if err != nil {
		return nil, err
	}
	versions := make([]uint32, len(index))
	for i := range index {
		versions[i] = index[i].Version
	}
	return &writerState{
		settings: s, index: index, now: w.vault.Now,
		columns: w.dataset.Columns(versions), rejectionColumns: rejectionColumns(w.dataset),
	}, nil
}

// DataKeys says how old the oldest data key in hand is and how many values those in hand have
// sealed, for metrics.
func (w *Writer) DataKeys() (age time.Duration, seals uint64) { return w.issuer.Oldest() }

func (w *Writer) current() *writerState { return w.state.Load() }

// renew reads the vault's state again after the vault refused a batch of the state old. It gives up
// the data keys in hand, because a raised epoch may have closed them. Of several goroutines refused
// together, one does it.
func (w *Writer) renew(ctx context.Context, old *writerState) error {
	w.refresh.Lock()
	defer w.refresh.Unlock()
	if w.state.Load() != old {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	state, err := callWithDeadline(ctx, func() (*writerState, error) { return w.read(ctx) })
	if err != nil {
		return err
	}
	w.issuer.Discard()
	w.state.Store(state)
	return nil
}

// renewTimeout bounds one reading of the vault's state. A KMS that takes the call and never answers
// must not hold all loaders.
const renewTimeout = time.Minute

// FixSource records a file source in the vault. It returns the date of its events, which the
// source's first run fixed.
func (w *Writer) FixSource(ctx context.Context, name string, date time.Time) (time.Time, error) {
	var fixed time.Time
	err := w.vault.DB.GetContext(ctx, &fixed, `SELECT cloakroom.fix_source($1, $2)`, name, date.Format(time.DateOnly))
	if err != nil {
		return time.Time{}, fmt.Errorf("recording the source: %w", pg.Redact(err))
	}
	return fixed.UTC(), nil
}
