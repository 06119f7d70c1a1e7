package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/pg"
	"cloakroom/internal/secret"
	"cloakroom/keys/kek"
)

var (
	// ErrKeyCheck reports a key that is not the one the vault registered: wrong, or damaged.
	ErrKeyCheck = errors.New("the unwrapped key does not match its key check: the vault's row is damaged, or belongs to another key")
	// ErrUnfinished: a job ended before its work did. What was done is kept; run it again.
	ErrUnfinished = errors.New("not finished")
	// ErrQuarantined: rows do not open, so the key or the column that they need stays.
	ErrQuarantined = errors.New("they do not open and are quarantined: compare them with a backup (docs/rotation.md)")
)

// Vault is the vault of one database, as one process sees it.
type Vault struct {
	DB    *sqlx.DB
	KEK   *kek.Set
	Clock func() time.Time // this host's clock; nil: time.Now
}

// Now is the time by this host's clock.
func (v *Vault) Now() time.Time {
	if v.Clock == nil {
		return time.Now()
	}
	return v.Clock()
}

// CompareClocks fails where this host's clock and the database's differ by more than five minutes: pg.IsUnavailable holds
// for the error. What is judged by a date, or deleted by its age, has to wait until they agree.
func (v *Vault) CompareClocks(ctx context.Context) error {
	if _, err := v.DB.ExecContext(ctx, `SELECT cloakroom.require_clock($1)`, v.Now()); err != nil {
		return fmt.Errorf("comparing clocks: %w", pg.Redact(err))
	}
	return nil
}

// Settings is what every process must know of the vault.
type Settings struct {
	ID        uuid.UUID `db:"vault_id"`
	Epoch     int64     `db:"epoch"`
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

// WrappedKey is a key's row in the vault, less its identity.
type WrappedKey struct {
	KEK      string `db:"kek"`
	KEKID    string `db:"kek_id"`
	Wrapped  []byte `db:"wrapped"`
	KeyCheck []byte `db:"key_check"`
}

func (w WrappedKey) forKEK() kek.Wrapped {
	return kek.Wrapped{KEK: w.KEK, KEKID: w.KEKID, Blob: w.Wrapped}
}

// unwrap unwraps a key of the vault and compares it with its key check.
func (v *Vault) unwrap(ctx context.Context, w WrappedKey, c kek.Binding) (secret.Bytes, error) {
	key, err := v.KEK.Unwrap(ctx, w.forKEK(), c)
	if err != nil {
		return secret.Bytes{}, err
	}
	check := envelope.Check(key.Expose(), c.Key)
	if len(w.KeyCheck) != len(check) || [envelope.CheckSize]byte(w.KeyCheck) != check {
		key.Destroy()
		return secret.Bytes{}, fmt.Errorf("unwrapping %s: %w", c, ErrKeyCheck)
	}
	return key, nil
}

// CheckWrapped unwraps a key, compares it with its key check and forgets it.
func (v *Vault) CheckWrapped(ctx context.Context, w WrappedKey, c kek.Binding) error {
	key, err := v.unwrap(ctx, w, c)
	if err != nil {
		return err
	}
	key.Destroy()
	return nil
}

// dateLayout is how a date is written in SQL, in associated data and in output.
const dateLayout = time.DateOnly

// MonthOf is the first day of the month of a date, UTC.
func MonthOf(date time.Time) time.Time {
	return time.Date(date.Year(), date.Month(), 1, 0, 0, 0, 0, time.UTC)
}
