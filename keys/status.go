package keys

import (
	"context"
	"fmt"
	"time"

	"cloakroom/internal/pg"
)

// DataKeyInfo is a data key as lists show it: everything but its bytes.
type DataKeyInfo struct {
	ID         uint32     `db:"id" json:"id"`
	Month      time.Time  `db:"month" json:"month"`
	State      string     `db:"state" json:"state"` // active, closed, retired, shredded
	KEK        string     `db:"kek" json:"kek"`
	KEKID      string     `db:"kek_id" json:"kek_id"`
	CreatedBy  string     `db:"created_by" json:"created_by"`
	CreatedAt  time.Time  `db:"created_at" json:"created_at"`
	ClosedAt   *time.Time `db:"closed_at" json:"closed_at,omitempty"`
	RetiredAt  *time.Time `db:"retired_at" json:"retired_at,omitempty"`
	ShreddedAt *time.Time `db:"shredded_at" json:"shredded_at,omitempty"`
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

// DataKeys lists the vault's data keys by id.
func (v *Vault) DataKeys(ctx context.Context) ([]DataKeyInfo, error) {
	list := []DataKeyInfo{}
	if err := v.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.data_key_list()`); err != nil {
		return nil, fmt.Errorf("listing data keys: %w", pg.Redact(err))
	}
	return list, nil
}

// IndexKeyList lists the versions of the index key.
func (v *Vault) IndexKeyList(ctx context.Context) ([]IndexKeyInfo, error) {
	list := []IndexKeyInfo{}
	if err := v.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.index_key_list()`); err != nil {
		return nil, fmt.Errorf("listing index keys: %w", pg.Redact(err))
	}
	return list, nil
}

// Status is the vault at a glance.
type Status struct {
	VaultID   string         `json:"vault_id"`
	Epoch     int64          `json:"epoch"`
	Schema    pg.Version     `json:"schema"`
	KEK       string         `json:"kek"`
	DataKeys  map[string]int `json:"data_keys"` // by state
	OldestKey *time.Time     `json:"oldest_active_data_key,omitempty"`
	IndexKeys []IndexKeyInfo `json:"index_keys"`
	Months    []string       `json:"months"`
	Notes     []string       `json:"notes,omitempty"`
}

// Status collects the vault's status. It unwraps nothing.
func (v *Vault) Status(ctx context.Context) (*Status, error) {
	s, err := v.Settings(ctx)
	if err != nil {
		return nil, err
	}
	out := &Status{VaultID: s.ID.String(), Epoch: s.Epoch, KEK: v.KEK.Current(), DataKeys: map[string]int{}, Months: []string{}, Notes: v.KEK.Notes()}
	stored, program, err := pg.SchemaVersion(ctx, v.DB)
	if err != nil {
		return nil, err
	}
	out.Schema = stored
	if difference := stored.Difference(program); difference != "" {
		out.Notes = append(out.Notes, difference)
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
	if err := v.DB.SelectContext(ctx, &out.Months, `SELECT to_char(month, 'YYYY-MM') FROM cloakroom.months()`); err != nil {
		return nil, fmt.Errorf("listing months: %w", pg.Redact(err))
	}
	return out, nil
}
