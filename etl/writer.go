package etl

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/etl/unwrap"
	"cloakroom/keys"
)

// Writer is what all protectors and loaders of a process share: the vault, its state as last read,
// and the data keys.
type Writer struct {
	vault   *keys.Vault
	caps    keys.Caps
	names   []string // of its datasets, the default first; nil: all of the vault's, of which only is the default
	only    string
	route   Route
	keyed   sync.Mutex              // guards issuers
	issuers map[string]*keys.Issuer // by dataset
	state   atomic.Pointer[writerState]
	refresh sync.Mutex
}

// writerState is the vault's state under which events are protected; the load refuses one that has
// passed.
type writerState struct {
	settings keys.Settings
	now      func() time.Time
	datasets []*datasetState // by name
	standard *datasetState   // of messages that name none
}

// datasetState is what a writer knows of one dataset: how its events are read, protected and loaded.
type datasetState struct {
	definition     *dataset.Dataset
	place          int // among the state's datasets
	guard          unwrap.Guard
	index          []keys.IndexKey
	issuer         *keys.Issuer
	copyRows       string // the statement, with the columns as writeRow writes them
	copyRejections string
}

// outside reports whether a date lies outside the policy's window. This is the only judge of an
// event's day: load() compares the clock with the database's, and refuses the batch, never an
// event, where they differ.
func (s *writerState) outside(date time.Time) bool {
	today := s.now().UTC().Truncate(24 * time.Hour)
	first, last := today.AddDate(0, 0, -s.settings.DaysBack), today.AddDate(0, 0, s.settings.DaysAhead)
	return date.Before(first) || date.After(last)
}

// find gives the dataset of that name; nil: the writer has none.
func (s *writerState) find(name string) *datasetState {
	at, ok := slices.BinarySearchFunc(s.datasets, name, func(d *datasetState, name string) int {
		return strings.Compare(d.definition.Name, name)
	})
	if !ok {
		return nil
	}
	return s.datasets[at]
}

// NewWriter reads the vault's state and unwraps the index key. names are the datasets that it writes, the default first;
// none: the vault's only one. It fails where this host's clock and the database's differ.
func NewWriter(ctx context.Context, v *keys.Vault, names []string, caps keys.Caps) (*Writer, error) {
	w := &Writer{vault: v, caps: caps, names: names}
	if len(names) == 0 {
		// What is the only dataset now may not stay it. A running writer keeps it.
		list, err := v.Datasets(ctx)
		if err != nil {
			return nil, err
		}
		d, err := list.Find("")
		if err != nil {
			return nil, err
		}
		w.names = []string{d.Name}
	}
	return w.open(ctx)
}

// NewRoutingWriter is a writer of all datasets of the vault, also of those applied later: route tells whose event a
// message is. What it cannot tell is a rejection of the default dataset; an empty name means the first by name.
func NewRoutingWriter(ctx context.Context, v *keys.Vault, standard string, route Route, caps keys.Caps) (*Writer, error) {
	return (&Writer{vault: v, caps: caps, only: standard, route: route}).open(ctx)
}

func (w *Writer) open(ctx context.Context) (*Writer, error) {
	w.issuers = map[string]*keys.Issuer{}
	state, err := w.read(ctx)
	if err != nil {
		return nil, err
	}
	w.state.Store(state)
	return w, nil
}

// Datasets are the names of the datasets that the writer writes, in order.
func (w *Writer) Datasets() []string {
	var names []string
	for _, d := range w.current().datasets {
		names = append(names, d.definition.Name)
	}
	return names
}

// Default is the dataset of messages that name none.
func (w *Writer) Default() string { return w.current().standard.definition.Name }

// Route is how the writer tells whose event a message is.
func (w *Writer) Route() Route { return w.route }

func (w *Writer) read(ctx context.Context) (*writerState, error) {
	// Between two reads, the load of each batch compares them.
	if err := w.vault.CompareClocks(ctx); err != nil {
		return nil, err
	}
	// The epoch first: if a rotation step or a change of a dataset comes between, the load refuses the older epoch and all
	// is read again.
	s, err := w.vault.Settings(ctx)
	if err != nil {
		return nil, err
	}
	list, err := w.vault.Datasets(ctx)
	if err != nil {
		return nil, err
	}
	state := &writerState{settings: s, now: w.vault.Now}
	for _, d := range list {
		if w.names != nil && !slices.Contains(w.names, d.Name) {
			continue
		}
		of, err := w.readDataset(ctx, s, d)
		if err != nil {
			return nil, err
		}
		of.place = len(state.datasets)
		state.datasets = append(state.datasets, of)
	}
	for _, name := range w.names {
		if _, err := list.Find(name); err != nil {
			return nil, err
		}
	}
	switch {
	case w.names != nil:
		state.standard = state.find(w.names[0])
	case w.only != "":
		if _, err := list.Find(w.only); err != nil {
			return nil, err
		}
		state.standard = state.find(w.only)
	case len(state.datasets) > 0:
		state.standard = state.datasets[0]
	default:
		_, err := list.Find("")
		return nil, err
	}
	return state, nil
}

func (w *Writer) readDataset(ctx context.Context, s keys.Settings, d *dataset.Dataset) (*datasetState, error) {
	index, err := w.vault.IndexKeys(ctx, s, d)
	if err != nil {
		return nil, err
	}
	issuer, err := w.issuerOf(s, d)
	if err != nil {
		return nil, err
	}
	versions := make([]uint32, len(index))
	for i := range index {
		versions[i] = index[i].Version
	}
	var columns []string
	for _, c := range d.TableColumns(versions) {
		columns = append(columns, c.Name)
	}
	return &datasetState{
		definition: d, index: index, issuer: issuer, guard: unwrap.GuardOf(d),
		copyRows:       copyStatement("stage_"+d.Name, columns),
		copyRejections: copyStatement("stage_rejections_"+d.Name, rejectionColumns),
	}, nil
}

// issuerOf keeps one issuer for each dataset: two would use up twice the keys.
func (w *Writer) issuerOf(s keys.Settings, d *dataset.Dataset) (*keys.Issuer, error) {
	w.keyed.Lock()
	defer w.keyed.Unlock()
	if issuer := w.issuers[d.Name]; issuer != nil {
		return issuer, nil
	}
	issuer, err := keys.NewIssuer(w.vault, s, d.Name, w.caps)
	if err == nil {
		w.issuers[d.Name] = issuer
	}
	return issuer, err
}

// copyStatement fills a staging table.
func copyStatement(table string, columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = pq.QuoteIdentifier(c)
	}
	return "COPY pg_temp." + pq.QuoteIdentifier(table) + " (" + strings.Join(quoted, ", ") + ") FROM STDIN"
}

// DataKeys says how old the oldest data key in hand is and how many values those in hand have
// sealed, for metrics.
func (w *Writer) DataKeys() (age time.Duration, seals uint64) {
	for _, d := range w.current().datasets {
		a, n := d.issuer.Oldest()
		age, seals = max(age, a), seals+n
	}
	return age, seals
}

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
	for _, d := range state.datasets {
		d.issuer.Discard()
	}
	w.state.Store(state)
	return nil
}

// renewTimeout bounds one reading of the vault's state. A KMS that takes the call and never answers
// must not hold all loaders.
const renewTimeout = time.Minute
