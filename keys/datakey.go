package keys

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// SealingKey is a data key that may still seal. An [Issuer] hands it out.
type SealingKey struct {
	*envelope.Key
	Check [envelope.CheckSize]byte // the load compares it with the vault's row
	Month time.Time                // of create_date, whose values it seals; UTC
	Born  time.Time

	seals, bytes uint64 // handed out so far; guarded by the issuer's lock
	ahead        Caps   // when to fetch the next key
}

// Caps bound the use of one data key. Zero means the default named beside each field. A cap can be
// lowered, not raised.
type Caps struct {
	Seals uint64        // values sealed: 2^28
	Bytes uint64        // plaintext bytes, before padding: 64 GiB
	Age   time.Duration // since the key was made: 1 h
}

// Defaults are also the ceilings.
const (
	defaultSeals = 1 << 28
	defaultBytes = 64 << 30
	defaultAge   = time.Hour
)

// Does not compile once the default passes the hard limit of NIST SP 800-38D, section 8.3.
const _ = uint64(envelope.MaxSeals - defaultSeals)

// Normalised applies the defaults and refuses a cap above its ceiling.
func (c Caps) Normalised() (Caps, error) {
	c = Caps{cmp.Or(c.Seals, defaultSeals), cmp.Or(c.Bytes, defaultBytes), cmp.Or(c.Age, defaultAge)}
	switch {
	case c.Seals > defaultSeals:
		return c, fmt.Errorf("a data key may seal at most %d values, not %d", uint64(defaultSeals), c.Seals)
	case c.Bytes > defaultBytes:
		return c, fmt.Errorf("a data key may seal at most %d bytes, not %d", uint64(defaultBytes), c.Bytes)
	case c.Age < 0 || c.Age > defaultAge:
		return c, fmt.Errorf("a data key may be used for at most %v, not %v", defaultAge, c.Age)
	}
	return c, nil
}

// ahead is when to fetch the next key: at 75 to 90 percent of whichever cap comes first. It is
// drawn per key, so that many processes started together do not call KMS together.
func (c Caps) ahead() Caps {
	share := 0.75 + 0.15*rand.Float64()
	return Caps{
		Seals: uint64(float64(c.Seals) * share),
		Bytes: uint64(float64(c.Bytes) * share),
		Age:   time.Duration(float64(c.Age) * share),
	}
}

// errClosed reports a new data key that is no longer active when it is read back.
var errClosed = errors.New("the new data key was closed at once: a rotation step is running, try again")

// newDataKey reserves an id, has the KEK make a key under it, commits it wrapped, and reads it back. The order matters:
// only then may it seal, so that no crash leaves a value whose key is lost.
func (v *Vault) newDataKey(ctx context.Context, vault Settings, dataset string, month, born time.Time) (*SealingKey, error) {
	var id uint32
	if err := v.DB.GetContext(ctx, &id, `SELECT cloakroom.reserve_data_key()`); err != nil {
		return nil, fmt.Errorf("reserving a data key's id: %w", pg.Redact(err))
	}
	b := kek.Binding{Vault: vault.ID, Purpose: kek.Seal, Key: id}
	key, wrapped, err := v.KEK.GenerateDataKey(ctx, b)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	check := envelope.Check(key.Expose(), id)
	if _, err := v.DB.ExecContext(ctx, `SELECT cloakroom.register_data_key($1, $2, $3, $4, $5, $6)`,
		id, dataset, month.Format(time.DateOnly), wrapped.KEKID, wrapped.Blob, check[:]); err != nil {
		return nil, fmt.Errorf("registering %s: %w", b, pg.Redact(err))
	}
	var back struct {
		Month time.Time `db:"month"`
		State string    `db:"state"`
		WrappedKey
	}
	if err := v.DB.GetContext(ctx, &back, `SELECT * FROM cloakroom.registered_data_key($1)`, id); err != nil {
		return nil, fmt.Errorf("reading %s back: %w", b, pg.Redact(err))
	}
	// A vault that stored something else would make every value of this key unreadable.
	if !bytes.Equal(back.Wrapped, wrapped.Blob) || !bytes.Equal(back.KeyCheck, check[:]) ||
		!MonthOf(back.Month).Equal(month) {
		return nil, fmt.Errorf("reading %s back: the vault stored something else: %w", b, ErrKeyCheck)
	}
	if back.State != "active" {
		return nil, fmt.Errorf("reading %s back: %w", b, errClosed)
	}
	expanded, err := envelope.NewKey(id, key.Expose())
	if err != nil {
		return nil, err
	}
	return &SealingKey{Key: expanded, Check: check, Month: month, Born: born}, nil
}

// DataKeyInfo is a data key as lists show it: everything but its bytes.
type DataKeyInfo struct {
	ID         uint32     `db:"id" json:"id"`
	Dataset    string     `db:"dataset" json:"dataset"`
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

// DataKeys lists the vault's data keys by id.
func (v *Vault) DataKeys(ctx context.Context) ([]DataKeyInfo, error) {
	list := []DataKeyInfo{}
	if err := v.DB.SelectContext(ctx, &list, `SELECT * FROM cloakroom.data_key_list()`); err != nil {
		return nil, fmt.Errorf("listing data keys: %w", pg.Redact(err))
	}
	return list, nil
}
