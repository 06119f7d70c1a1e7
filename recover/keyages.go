package recover

import (
	"context"
	"fmt"
	"time"

	"cloakroom/internal/pg"
)

// KeyAge is how old a key is.
type KeyAge struct {
	Kind       string     `db:"kind" json:"kind"` // index, data
	ID         int        `db:"id" json:"id"`
	Month      *time.Time `db:"month" json:"month,omitempty"`
	State      string     `db:"state" json:"state"`
	KEK        string     `db:"kek" json:"kek"`
	CreatedAt  time.Time  `db:"created_at" json:"created_at"`
	ClosedAt   *time.Time `db:"closed_at" json:"closed_at,omitempty"`
	RetiredAt  *time.Time `db:"retired_at" json:"retired_at,omitempty"`
	ShreddedAt *time.Time `db:"shredded_at" json:"shredded_at,omitempty"`
	MaxAge     float64    `db:"max_age" json:"-"` // seconds
	Overdue    bool       `json:"overdue"`        // older than the policy lets it be, and still needed
}

// keyAges lists every key with its state. A key is overdue only while it is in use: a closed key
// still opens, so its age still matters.
func (c *Client) keyAges(ctx context.Context, r *Report) error {
	err := c.Vault.DB.SelectContext(ctx, &r.Keys, `
		SELECT kind, id, month, state, kek, created_at, closed_at, retired_at, shredded_at,
		       extract(epoch FROM max_age)::float8 AS max_age
		  FROM cloakroom.key_ages()`)
	if err != nil {
		return fmt.Errorf("reading the keys' ages: %w", pg.Redact(err))
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		inUse := k.State == "active" || k.State == "closed" || k.State == "live"
		k.Overdue = inUse && time.Since(k.CreatedAt) > time.Duration(k.MaxAge*float64(time.Second))
	}
	return nil
}
