package keys

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// Lookup finds a data key's row in the vault. It returns ErrNoKey where there is none.
type Lookup func(ctx context.Context, id uint32) (WrappedKey, error)

// Keyring gives data keys to open with. It keeps a bounded number of them for a limited time, and
// unwraps each once, however many callers ask at the same time. It is safe for concurrent use.
type Keyring struct {
	vault    *Vault
	settings Settings
	lookup   Lookup
	ttl      time.Duration
	cache    *lru.Cache[uint32, cachedKey]
	flight   func() *singleflight.Group // A function, because fmt cannot look into one: it would read a lock in use.
}

type cachedKey struct {
	key     *envelope.Key
	expires time.Time
}

const (
	keyringSize = 1024            // keys
	keyringTTL  = 5 * time.Minute // after which a key is unwrapped again, so that a revoked permission takes hold
)

// NewKeyring makes a keyring. With lookup nil it finds keys as the role cloakroom_rotator may.
func NewKeyring(v *Vault, s Settings, lookup Lookup) *Keyring {
	if lookup == nil {
		lookup = v.lookupAsRotator
	}
	cache, err := lru.New[uint32, cachedKey](keyringSize)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	var flight singleflight.Group
	return &Keyring{
		vault: v, settings: s, lookup: lookup, ttl: keyringTTL, cache: cache,
		flight: func() *singleflight.Group { return &flight },
	}
}

// Key gives a data key, ready to open. Errors wrap ErrNoKey, ErrKeyCheck, those of package kek, or
// the database's; what failed is not kept, so the next call tries again. A cancelled ctx does not
// stop the unwrap for other callers.
func (r *Keyring) Key(ctx context.Context, id uint32) (*envelope.Key, error) {
	if c, ok := r.cache.Get(id); ok && time.Now().Before(c.expires) {
		return c.key, nil
	}
	result := r.flight().DoChan(strconv.FormatUint(uint64(id), 10), func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return r.unwrap(shared, id)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got := <-result:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.(*envelope.Key), nil
	}
}

func (r *Keyring) unwrap(ctx context.Context, id uint32) (*envelope.Key, error) {
	w, err := r.lookup(ctx, id)
	if err != nil {
		return nil, err
	}
	key, err := r.vault.unwrap(ctx, w, kek.Binding{Vault: r.settings.ID, Purpose: kek.Seal, Key: id})
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	expanded, err := envelope.NewKey(id, key.Expose())
	if err != nil {
		return nil, err
	}
	r.cache.Add(id, cachedKey{key: expanded, expires: time.Now().Add(r.ttl)})
	return expanded, nil
}

// Close drops all keys.
func (r *Keyring) Close() { r.cache.Purge() }

func (v *Vault) lookupAsRotator(ctx context.Context, id uint32) (WrappedKey, error) {
	var row struct {
		Month time.Time `db:"month"`
		State string    `db:"state"`
		WrappedKey
	}
	err := v.DB.GetContext(ctx, &row, `SELECT * FROM cloakroom.wrapped_data_key($1)`, id)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && row.Wrapped == nil:
		return WrappedKey{}, fmt.Errorf("looking up data key %d: %w", id, ErrNoKey)
	case err != nil:
		return WrappedKey{}, fmt.Errorf("looking up data key %d: %w", id, pg.Redact(err))
	}
	return row.WrappedKey, nil
}
