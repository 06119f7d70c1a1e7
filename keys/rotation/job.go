package rotation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// job is one run of a step: the vault's settings, the keys it opens with and those it seals with.
type job struct {
	vault    *keys.Vault
	o        Options
	ring     *keys.Keyring
	throttle *throttle

	settings keys.Settings // as of the start; only the epoch changes
	epoch    atomic.Int64

	mu       sync.Mutex
	datasets map[string]*target // by name, as of the epoch
	newKeys  map[uint32]bool    // data keys that this run sealed with
}

// target is a dataset as a worker needs it.
type target struct {
	*dataset.Dataset
	protected []*dataset.Member
	issuer    *keys.Issuer
}

func newJob(ctx context.Context, v *keys.Vault, o Options) (*job, error) {
	j := &job{vault: v, o: o.withDefaults(), newKeys: map[uint32]bool{}}
	var err error
	if j.settings, err = v.Settings(ctx); err != nil {
		return nil, err
	}
	if err := j.readDatasets(ctx); err != nil {
		return nil, err
	}
	if _, named := j.datasets[o.Dataset]; o.Dataset != "" && !named {
		return nil, fmt.Errorf("%w is called %q", keys.ErrNoDataset, o.Dataset)
	}
	j.epoch.Store(j.settings.Epoch)
	j.ring = keys.NewKeyring(v, j.settings, nil)
	j.throttle = newThrottle(v.DB, j.o)
	return j, nil
}

func (j *job) close() { j.ring.Close() }

// refresh reads the vault's epoch and datasets again and drops the data keys in hand, which a raised epoch may have closed.
func (j *job) refresh(ctx context.Context) error {
	s, err := j.vault.Settings(ctx)
	if err != nil {
		return err
	}
	if err := j.readDatasets(ctx); err != nil {
		return err
	}
	j.epoch.Store(s.Epoch)
	return nil
}

// readDatasets reads the definitions, with no data key in hand for any.
func (j *job) readDatasets(ctx context.Context) error {
	list, err := j.vault.Datasets(ctx)
	if err != nil {
		return err
	}
	datasets := map[string]*target{}
	for _, d := range list {
		issuer, err := keys.NewIssuer(j.vault, j.settings, d.Name, keys.Caps{})
		if err != nil {
			return err
		}
		datasets[d.Name] = &target{Dataset: d, protected: d.Protected(), issuer: issuer}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.datasets = datasets
	return nil
}

// target gives the dataset of a slice. One that is not known was applied since: the epoch was raised then.
func (j *job) target(name string) (*target, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t := j.datasets[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("looking for dataset %q: %w: run it again", name, keys.ErrUnfinished)
}

// quarantined lists the rows that a step quarantined.
func (j *job) quarantined(ctx context.Context, step string) ([]Quarantined, error) {
	var list []Quarantined
	err := j.vault.DB.SelectContext(ctx, &list, `
		SELECT dataset, row_id, to_char(sent AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS sent, rejection,
		       data_key, problem
		  FROM cloakroom.quarantined($1)`, step)
	if err != nil {
		return nil, fmt.Errorf("listing quarantined rows: %w", pg.Redact(err))
	}
	return list, nil
}

// ids converts an array of key ids.
func ids(array pq.Int32Array) []uint32 {
	out := make([]uint32, len(array))
	for i, id := range array {
		out[i] = uint32(id)
	}
	return out
}

// run runs f as a job and completes its report, which is true even with an error.
func run(ctx context.Context, v *keys.Vault, o Options, f func(*job, *Report) error) (Report, error) {
	began := time.Now()
	r := Report{DryRun: o.DryRun}
	j, err := newJob(ctx, v, o)
	if err != nil {
		return r, err
	}
	defer j.close()
	err = f(j, &r)
	r.NewKeys = slices.Sorted(maps.Keys(j.newKeys))
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		return r, fmt.Errorf("rotating: %w", err)
	}
	return r, nil
}
