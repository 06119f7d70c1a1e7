package keys

import (
	"context"
	"errors"
	"fmt"

	"cloakroom/crypto/blindindex"
	"cloakroom/internal/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// IndexKey is one version of the index key, as subkeys: one for each protected member of the dataset, in the dataset's
// order. The index key itself is gone from memory.
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

// IndexKeys unwraps the live versions of the index key, oldest first: one, or two while reindexing.
func (v *Vault) IndexKeys(ctx context.Context, s Settings, d *dataset.Dataset) ([]IndexKey, error) {
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
	var out []IndexKey
	for _, row := range rows {
		c := kek.Context{Vault: s.ID, Purpose: kek.Index, Key: row.Version}
		key, err := v.unwrap(ctx, row.WrappedKey, c)
		if err != nil {
			return nil, err
		}
		derived, err := deriveSubkeys(key.Expose(), d, row.Version)
		key.Destroy()
		if err != nil {
			return nil, err
		}
		out = append(out, derived)
	}
	return out, nil
}

func deriveSubkeys(indexKey []byte, d *dataset.Dataset, version uint32) (IndexKey, error) {
	k := IndexKey{Version: version}
	for _, m := range d.Protected() {
		transform, err := blindindex.ParseTransform(m.Protect.Normalise)
		if err != nil {
			return IndexKey{}, fmt.Errorf("deriving the subkey of %s: %w", m.Name, err)
		}
		subkey, err := blindindex.Derive(indexKey, d.Name, m.Name, transform, version)
		if err != nil {
			return IndexKey{}, fmt.Errorf("deriving the subkey of %s: %w", m.Name, err)
		}
		k.Subkeys = append(k.Subkeys, subkey)
	}
	return k, nil
}
