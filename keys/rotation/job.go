package rotation

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// job is one run of a step: the vault as last read, the keys it opens with and those it seals with.
type job struct {
	vault     *keys.Vault
	dataset   *dataset.Dataset
	protected []*dataset.Member
	members   pq.StringArray // the protected members' names
	o         Options
	ring      *keys.Keyring
	issuer    *keys.Issuer
	throttle  *throttle

	settings keys.Settings // but for the epoch as they were when the job began: they do not change
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

// refresh reads the vault's epoch again and gives up the data keys in hand: a raised epoch may have closed them.
func (j *job) refresh(ctx context.Context) error {
	s, err := j.vault.Settings(ctx)
	if err != nil {
		return err
	}
	j.epoch.Store(s.Epoch)
	j.issuer.Discard()
	return nil
}

// quarantined lists the rows of a step that do not open.
func (j *job) quarantined(ctx context.Context, step string) ([]Quarantined, error) {
	var list []Quarantined
	err := j.vault.DB.SelectContext(ctx, &list, `SELECT message_id, create_date, data_key, problem FROM cloakroom.quarantined($1)`, step)
	if err != nil {
		return nil, fmt.Errorf("listing what is quarantined: %w", pg.Redact(err))
	}
	return list, nil
}

// ids turns a database's array of key ids into ours.
func ids(array pq.Int32Array) []uint32 {
	out := make([]uint32, len(array))
	for i, id := range array {
		out[i] = uint32(id)
	}
	return out
}
