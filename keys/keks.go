package keys

import (
	"context"
	"fmt"
	"time"

	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// KEKInfo is a KEK that the vault knows: the URI with which it was added, and what that named then. An alias may move
// since; the vault goes by the id.
type KEKInfo struct {
	KEK      string     `db:"kek" json:"kek"`
	ID       string     `db:"kek_id" json:"kek_id"` // a KMS key's ARN, or a key file's fingerprint
	AddedBy  string     `db:"added_by" json:"added_by"`
	AddedAt  time.Time  `db:"added_at" json:"added_at"`
	ClosedAt *time.Time `db:"closed_at" json:"closed_at,omitempty"` // since when it takes no new keys
}

// KEKs lists the KEKs that the vault knows.
func (v *Vault) KEKs(ctx context.Context) ([]KEKInfo, error) {
	list := []KEKInfo{}
	if err := v.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.keks()`); err != nil {
		return nil, fmt.Errorf("listing KEKs: %w", pg.Redact(err))
	}
	return list, nil
}

// RequireKnown refuses a KEK that the vault does not know. Who can plant a key's row could lead these credentials
// to a KMS key of theirs.
func (v *Vault) RequireKnown(ctx context.Context, id string) error {
	if known := v.known.Load(); known != nil && (*known)[id] {
		return nil
	}
	list, err := v.KEKs(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, k := range list {
		known[k.ID] = true
	}
	v.known.Store(&known)
	if !known[id] {
		return ErrUnknownKEK
	}
	return nil
}

// Target is the id of the KEK at a URI of the set, if the vault takes keys under it. It asks KMS which key an alias
// names now. The error wraps kek.ErrNotConfigured where the vault does not take any.
func (v *Vault) Target(ctx context.Context, s Settings, uri string) (string, error) {
	id, err := v.KEK.Resolve(ctx, uri, s.ID)
	if err != nil {
		return "", err
	}
	list, err := v.KEKs(ctx)
	if err != nil {
		return "", err
	}
	for _, k := range list {
		if k.ID == id && k.ClosedAt == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("%w: the vault takes no keys under it, which is %s: with the login of keys init, keys kek add %s",
		kek.ErrNotConfigured, id, uri)
}

// AddKEK lets the vault take keys under the KEK at a URI of the set. Its login is that of keys init. It returns the
// KEK's id, and false if the vault takes keys under it already.
func (v *Vault) AddKEK(ctx context.Context, s Settings, uri string) (id string, added bool, err error) {
	if id, err = v.KEK.Resolve(ctx, uri, s.ID); err != nil {
		return "", false, err
	}
	if err := v.DB.GetContext(ctx, &added, `SELECT cloakroom.add_kek($1, $2)`, uri, id); err != nil {
		return "", false, fmt.Errorf("adding the KEK %s: %w", uri, pg.Redact(err))
	}
	return id, added, nil
}

// CloseKEK ends that the vault takes keys under a KEK, named by its URI or its id. Keys under it still unwrap. It
// refuses the last one. Its login is that of keys init.
func (v *Vault) CloseKEK(ctx context.Context, name string) error {
	if _, err := v.DB.ExecContext(ctx, `SELECT cloakroom.close_kek($1)`, name); err != nil {
		return fmt.Errorf("closing the KEK %s: %w", name, pg.Redact(err))
	}
	return nil
}
