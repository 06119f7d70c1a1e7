// Package keys is the vault: the wrapped keys in Postgres and the code that guards them.
//
//	KEK            in KMS or a key file; never leaves it
//	 ├─ data keys  seal values; one per process, month of create_date and period; capped by count, bytes and age
//	 └─ index key  one live version (two while reindexing)
//	      └─ subkeys, one per field, derived with HKDF
//
// Which function to call: [Init] makes a vault, [Issuer.Acquire] gives a data key to seal with,
// [Keyring.Key] one to open with, [Vault.IndexKeys] the subkeys that make tokens, [Vault.Status]
// what an operator sees, [Grant] lets a login in. Package rotation changes keys, package verify
// checks them, package kek reaches the KEK.
//
// What it promises:
//
//   - A data key is committed to the vault, wrapped, and read back before the first value is sealed
//     under it. A crash at any instruction leaves no value that cannot be opened.
//   - A data key seals values of one month of create_date only, so that a month can be shredded
//     exactly.
//   - A data key seals at most 2^28 values (never more than 2^32: NIST SP 800-38D, section 8.3), 64
//     GiB and for one hour, whichever comes first. The next key is fetched ahead, once per process.
//   - A wrong or damaged key is reported as such by its key check; it never opens or seals
//     anything.
//   - Key bytes are zeroed as soon as a key is expanded. Go's AES key schedule cannot be zeroed.
package keys

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/pg"
	"cloakroom/internal/secret"
	"cloakroom/keys/kek"
)

// Vault is the vault of one database, as one process sees it.
type Vault struct {
	DB    *sqlx.DB
	KEK   *kek.Set
	Clock func() time.Time // this host's clock; nil: time.Now

	known atomic.Pointer[map[string]bool] // ids of the KEKs that the vault knows, as last read
}

// Now is the time by this host's clock.
func (v *Vault) Now() time.Time {
	if v.Clock == nil {
		return time.Now()
	}
	return v.Clock()
}

// CompareClocks fails if this host's clock and the database's differ by more than five minutes:
// pg.IsUnavailable holds for the error. What is judged by a date, or deleted by its age, has to
// wait until they agree.
func (v *Vault) CompareClocks(ctx context.Context) error {
	if _, err := v.DB.ExecContext(ctx, `SELECT cloakroom.require_clock($1)`, v.Now()); err != nil {
		return fmt.Errorf("comparing clocks: %w", pg.Redact(err))
	}
	return nil
}

// Settings is what every process must know of the vault.
type Settings struct {
	ID        uuid.UUID `db:"vault_id"`
	Epoch     int64     `db:"epoch"`      // a write under an older one is refused
	DaysBack  int       `db:"days_back"`  // older events are rejected
	DaysAhead int       `db:"days_ahead"` // events dated further ahead are rejected
}

// Settings reads the vault's settings.
func (v *Vault) Settings(ctx context.Context) (Settings, error) {
	var s Settings
	if err := v.DB.GetContext(ctx, &s, `SELECT * FROM cloakroom.vault()`); err != nil {
		return Settings{}, fmt.Errorf("reading the vault's settings: %w", pg.Redact(err))
	}
	return s, nil
}

// WrappedKey is a key's row in the vault, without its identity.
type WrappedKey struct {
	KEK      string `db:"kek"`
	KEKID    string `db:"kek_id"`
	Wrapped  []byte `db:"wrapped"`
	KeyCheck []byte `db:"key_check"`
}

// unwrap unwraps a key of the vault and compares it with its key check.
func (v *Vault) unwrap(ctx context.Context, w WrappedKey, b kek.Binding) (secret.Bytes, error) {
	if err := v.RequireKnown(ctx, w.KEKID); err != nil {
		return secret.Bytes{}, fmt.Errorf("unwrapping %s: %w", b, err)
	}
	key, err := v.KEK.Unwrap(ctx, kek.Wrapped{KEK: w.KEK, KEKID: w.KEKID, Blob: w.Wrapped}, b)
	if err != nil {
		return secret.Bytes{}, err
	}
	check := envelope.Check(key.Expose(), b.Key)
	if len(w.KeyCheck) != len(check) || [envelope.CheckSize]byte(w.KeyCheck) != check {
		key.Destroy()
		return secret.Bytes{}, fmt.Errorf("unwrapping %s: %w", b, ErrKeyCheck)
	}
	return key, nil
}

// CheckWrapped unwraps a key, compares it with its key check and destroys it.
func (v *Vault) CheckWrapped(ctx context.Context, w WrappedKey, b kek.Binding) error {
	key, err := v.unwrap(ctx, w, b)
	if err != nil {
		return err
	}
	key.Destroy()
	return nil
}

// Status is the vault at a glance.
type Status struct {
	VaultID   string          `json:"vault_id"`
	Epoch     int64           `json:"epoch"`
	KEK       string          `json:"kek"`
	KEKs      []KEKInfo       `json:"keks"`
	DataKeys  map[string]int  `json:"data_keys"` // by state
	OldestKey *time.Time      `json:"oldest_active_data_key,omitempty"`
	IndexKeys []IndexKeyInfo  `json:"index_keys"`
	Datasets  []DatasetStatus `json:"datasets"`
	Notes     []string        `json:"notes,omitempty"`
	Schema    pg.Version      `json:"schema"`
}

// Status collects the vault's status. It unwraps nothing.
func (v *Vault) Status(ctx context.Context) (*Status, error) {
	s, err := v.Settings(ctx)
	if err != nil {
		return nil, err
	}
	out := &Status{
		VaultID: s.ID.String(), Epoch: s.Epoch, KEK: v.KEK.Current(), DataKeys: map[string]int{},
		Datasets: []DatasetStatus{}, Notes: v.KEK.Notes(),
	}
	stored, program, err := pg.SchemaVersion(ctx, v.DB)
	if err != nil {
		return nil, err
	}
	out.Schema = stored
	if difference := stored.Difference(program); difference != "" {
		out.Notes = append(out.Notes, difference)
	}
	if out.KEKs, err = v.KEKs(ctx); err != nil {
		return nil, err
	}
	list, err := v.DataKeys(ctx)
	if err != nil {
		return nil, err
	}
	for i, k := range list {
		out.DataKeys[k.State]++
		if k.State == "active" && (out.OldestKey == nil || k.CreatedAt.Before(*out.OldestKey)) {
			out.OldestKey = &list[i].CreatedAt
		}
	}
	if out.IndexKeys, err = v.IndexKeyList(ctx); err != nil {
		return nil, err
	}
	parts, err := v.Partitions(ctx, "")
	for _, p := range parts {
		if n := len(out.Datasets); n == 0 || out.Datasets[n-1].Name != p.Dataset {
			out.Datasets = append(out.Datasets, DatasetStatus{Name: p.Dataset, From: p.From.Format(time.DateOnly)})
		}
		last := &out.Datasets[len(out.Datasets)-1]
		last.Partitions++
		last.To = p.To.AddDate(0, 0, -1).Format(time.DateOnly)
	}
	return out, err
}

// DatasetStatus is a dataset at a glance: the days whose rows can be stored without a new partition.
type DatasetStatus struct {
	Name       string `json:"name"`
	From       string `json:"from"` // YYYY-MM-DD, UTC
	To         string `json:"to"`
	Partitions int    `json:"partitions"`
}

// Partition is one partition of a dataset's rows: the days from From to before To, UTC.
type Partition struct {
	Dataset string    `db:"dataset"`
	From    time.Time `db:"from_date"`
	To      time.Time `db:"to_date"`
}

// Partitions lists the partitions of a dataset, or of all where the name is empty.
func (v *Vault) Partitions(ctx context.Context, dataset string) ([]Partition, error) {
	var parts []Partition
	if err := v.DB.SelectContext(ctx, &parts, `SELECT * FROM cloakroom.partition_list(nullif($1, ''))`, dataset); err != nil {
		return nil, fmt.Errorf("listing partitions: %w", pg.Redact(err))
	}
	return parts, nil
}

// MonthOf is the first day of the month of a date, UTC.
func MonthOf(date time.Time) time.Time {
	return time.Date(date.Year(), date.Month(), 1, 0, 0, 0, 0, time.UTC)
}
