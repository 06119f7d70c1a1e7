package keys

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// IndexKey is one version of the index key, as subkeys: one for each index of the dataset, in the order of
// Dataset.Indexes. The index key itself is zeroed once they are derived.
type IndexKey struct {
	Version uint32
	Subkeys []*blindindex.Subkey
}

// Destroy zeroes the subkeys.
func (k IndexKey) Destroy() {
	for _, s := range k.Subkeys {
		s.Destroy()
	}
}

// NewHashers makes a hasher for each subkey, for one goroutine.
func (k IndexKey) NewHashers() []*blindindex.Hasher {
	var hashers []*blindindex.Hasher
	for _, s := range k.Subkeys {
		hashers = append(hashers, s.NewHasher())
	}
	return hashers
}

// DestroyIndexKeys zeroes the subkeys of several versions.
func DestroyIndexKeys(list []IndexKey) {
	for _, k := range list {
		k.Destroy()
	}
}

// IndexKeys unwraps the live versions of the index key, oldest first: one, or two while reindexing.
// Destroy each.
func (v *Vault) IndexKeys(ctx context.Context, s Settings, d *dataset.Dataset) (out []IndexKey, err error) {
	defer func() {
		if err != nil {
			DestroyIndexKeys(out)
			out = nil
		}
	}()
	var rows []struct {
		Version uint32 `db:"version"`
		WrappedKey
	}
	if err := v.DB.SelectContext(ctx, &rows, `SELECT * FROM cloakroom.live_index_keys()`); err != nil {
		return nil, fmt.Errorf("reading index keys: %w", pg.Redact(err))
	}
	if len(rows) == 0 {
		return nil, errors.New("reading index keys: the vault has none: run keys init")
	}
	for _, row := range rows {
		key, err := v.unwrap(ctx, row.WrappedKey, kek.Binding{Vault: s.ID, Purpose: kek.Index, Key: row.Version})
		if err != nil {
			return out, err
		}
		derived, err := deriveSubkeys(key.Expose(), d, row.Version)
		key.Destroy()
		if err != nil {
			return out, err
		}
		out = append(out, derived)
	}
	return out, nil
}

// PendingIndexKey makes the index key of the next reindex, unless one is pending already. Like a
// data key it is committed wrapped and read back before use. Two callers at once end up with one
// key.
func (v *Vault) PendingIndexKey(ctx context.Context, s Settings) (version uint32, err error) {
	if version, err = v.checkPending(ctx, s); err != nil || version > 0 {
		return version, err
	}
	if err := v.DB.GetContext(ctx, &version, `SELECT cloakroom.next_index_version()`); err != nil {
		return 0, fmt.Errorf("numbering an index key: %w", pg.Redact(err))
	}
	key, w, err := v.KEK.GenerateDataKey(ctx, kek.Binding{Vault: s.ID, Purpose: kek.Index, Key: version})
	if err != nil {
		return 0, err
	}
	defer key.Destroy()
	check := envelope.Check(key.Expose(), version)
	if _, err := v.DB.ExecContext(ctx, `SELECT cloakroom.register_index_key($1, $2, $3, $4)`, version, w.KEKID,
		w.Blob, check[:]); err != nil {
		return 0, fmt.Errorf("registering index key v%d: %w", version, pg.Redact(err))
	}
	if version, err = v.checkPending(ctx, s); err == nil && version == 0 {
		err = errors.New("registering an index key: another reindex took its number: run keys reindex again")
	}
	return version, err
}

// checkPending unwraps the pending index key and returns its version; 0: there is none.
func (v *Vault) checkPending(ctx context.Context, s Settings) (uint32, error) {
	var row struct {
		Version uint32 `db:"version"`
		WrappedKey
	}
	err := v.DB.GetContext(ctx, &row, `SELECT * FROM cloakroom.pending_index_key()`)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the pending index key: %w", pg.Redact(err))
	}
	key, err := v.unwrap(ctx, row.WrappedKey, kek.Binding{Vault: s.ID, Purpose: kek.Index, Key: row.Version})
	if err != nil {
		return 0, err
	}
	key.Destroy()
	return row.Version, nil
}

func deriveSubkeys(indexKey []byte, d *dataset.Dataset, version uint32) (IndexKey, error) {
	k := IndexKey{Version: version}
	for _, ix := range d.Indexes() {
		subkey, err := blindindex.Derive(indexKey, d.Name, ix.Member.Name, ix.Transform, version)
		if err != nil {
			return IndexKey{}, fmt.Errorf("deriving the subkey of %s, %s: %w", ix.Member.Name, ix.Kind, err)
		}
		k.Subkeys = append(k.Subkeys, subkey)
	}
	return k, nil
}

// IndexKeyInfo is a version of the index key as lists show it.
type IndexKeyInfo struct {
	Version   uint32     `db:"version" json:"version"`
	State     string     `db:"state" json:"state"` // pending, live, retired, shredded
	KEK       string     `db:"kek" json:"kek"`
	KEKID     string     `db:"kek_id" json:"kek_id"`
	CreatedBy string     `db:"created_by" json:"created_by"`
	CreatedAt time.Time  `db:"created_at" json:"created_at"`
	RetiredAt *time.Time `db:"retired_at" json:"retired_at,omitempty"`
}

// IndexKeyList lists the versions of the index key, oldest first.
func (v *Vault) IndexKeyList(ctx context.Context) ([]IndexKeyInfo, error) {
	list := []IndexKeyInfo{}
	if err := v.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.index_key_list()`); err != nil {
		return nil, fmt.Errorf("listing index keys: %w", pg.Redact(err))
	}
	return list, nil
}
