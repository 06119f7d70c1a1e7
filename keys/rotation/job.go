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
	vault     *keys.Vault
	dataset   *dataset.Dataset
	protected []*dataset.Member
	members   pq.StringArray // names of the protected members
	o         Options
	ring      *keys.Keyring
	issuer    *keys.Issuer
	throttle  *throttle

	settings keys.Settings // as of the start; only the epoch changes
	epoch    atomic.Int64

	mu      sync.Mutex
	newKeys map[uint32]bool // data keys that this run sealed with
}

func newJob(ctx context.Context, v *keys.Vault, d *dataset.Dataset, o Options) (*job, error) {
	j := &job{vault: v, dataset: d, protected: d.Protected(), o: o.withDefaults(), newKeys: map[uint32]bool{}}
	for _, m := range j.protected {
		j.members = append(j.members, m.Name)
	}
	var err error
	if j.settings, err = v.Settings(ctx); err != nil {
		return nil, err
	}
	j.epoch.Store(j.settings.Epoch)
	if j.issuer, err = keys.NewIssuer(v, j.settings, keys.Caps{}); err != nil {
		return nil, err
	}
	j.ring = keys.NewKeyring(v, j.settings, nil)
	j.throttle = newThrottle(v.DB, j.o)
	return j, nil
}

func (j *job) close() { j.ring.Close() }

// refresh reads the vault's epoch again and drops the data keys in hand, which a raised epoch may
// have closed.
func (j *job) refresh(ctx context.Context) error {
	s, err := j.vault.Settings(ctx)
	if err != nil {
		return err
	}
	j.epoch.Store(s.Epoch)
	j.issuer.Discard()
	return nil
}

// quarantined lists the rows that a step quarantined.
func (j *job) quarantined(ctx context.Context, step string) ([]Quarantined, error) {
	var list []Quarantined
	err := j.vault.DB.SelectContext(ctx, &list,
		`SELECT message_id, create_date, data_key, problem FROM cloakroom.quarantined($1)`, step)
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
func run(
	ctx context.Context, v *keys.Vault, d *dataset.Dataset, o Options, f func(*job, *Report) error,
) (Report, error) {
	began := time.Now()
	r := Report{DryRun: o.DryRun}
	j, err := newJob(ctx, v, d, o)
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
