package recover

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"cloakroom/keys"
)

// wrappedKey is a wrapped key as the database gives it. Beside a version, all of it is NULL.
type wrappedKey struct {
	KEK      sql.NullString `db:"kek"`
	KEKID    sql.NullString `db:"kek_id"`
	Wrapped  []byte         `db:"wrapped"`
	KeyCheck []byte         `db:"key_check"`
}

// key is the wrapped key as package keys takes it.
func (w wrappedKey) key() keys.WrappedKey {
	return keys.WrappedKey{KEK: w.KEK.String, KEKID: w.KEKID.String, Wrapped: w.Wrapped, KeyCheck: w.KeyCheck}
}

// lateKey takes the wrapped key of a frozen row that was resealed between T1 and T3.
func (c *Client) lateKey(ctx context.Context, id uuid.UUID, key uint32) (keys.WrappedKey, error) {
	var w wrappedKey
	err := c.Vault.DB.GetContext(ctx, &w, `SELECT * FROM cloakroom.handed_key($1, $2)`, id, key)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && w.Wrapped == nil:
		return keys.WrappedKey{}, fmt.Errorf("opening with data key %d: %w", key, keys.ErrNoKey)
	case err != nil:
		return keys.WrappedKey{}, dbError("taking a data key", auditor, err)
	}
	return w.key(), nil
}
