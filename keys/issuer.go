package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// SealingKey is a data key that may still seal.
type SealingKey struct {
	*envelope.Key
	Check [envelope.CheckSize]byte // compared by the load with the vault's row
	Month time.Time                // the month of create_date it seals, UTC
	Born  time.Time

	seals, bytes uint64 // handed out so far; guarded by the issuer's lock
	ahead        Caps
}

// Issuer hands out data keys for sealing, one per month of create_date at a time. It is safe for concurrent use.
type Issuer struct {
	vault    *Vault
	settings Settings
	caps     Caps
	now      func() time.Time

	mu     sync.Mutex
	months map[time.Time]*monthKeys
}

type monthKeys struct {
	current *SealingKey
	next    *SealingKey
	fetch   *fetch    // under way, or nil
	retry   time.Time // a fetch ahead of need that failed is not tried again before this
	asked   time.Time // when a key of this month was last asked for
}

// fetch is one request for a new data key that everybody who needs it waits for.
type fetch struct {
	done chan struct{}
	key  *SealingKey
	err  error
}

// maxMonths bounds how many months are kept at once; a backfill in date order needs two.
const maxMonths = 64

// NewIssuer makes an issuer. The settings are those of the vault; only its id is used.
func NewIssuer(v *Vault, s Settings, caps Caps) (*Issuer, error) {
	caps, err := caps.Normalised()
	if err != nil {
		return nil, err
	}
	return &Issuer{vault: v, settings: s, caps: caps, now: time.Now, months: map[time.Time]*monthKeys{}}, nil
}

// Acquire gives a data key that may seal the given number of values and bytes of rows dated in the month of date,
// and counts them against its caps. It calls the KEK only when there is no such key in hand, or soon will not be.
//
// Errors wrap those of package kek; with kek.ErrUnavailable, or a database that is away, the same call may succeed
// later.
func (i *Issuer) Acquire(ctx context.Context, date time.Time, seals, bytes uint64) (*SealingKey, error) {
	if seals > i.caps.Seals || bytes > i.caps.Bytes {
		return nil, fmt.Errorf("acquiring a data key: %d values of %d bytes are more than one data key may seal (%d, %d bytes)", seals, bytes, i.caps.Seals, i.caps.Bytes)
	}
	month := MonthOf(date)
	for {
		i.mu.Lock()
		m := i.month(month)
		m.asked = i.now()
		if k := i.usable(m, seals, bytes); k != nil {
			k.seals += seals
			k.bytes += bytes
			if m.next == nil && m.fetch == nil && i.past(k, k.ahead) && !i.now().Before(m.retry) {
				i.start(m, month)
			}
			i.mu.Unlock()
			return k, nil
		}
		if m.fetch == nil {
			i.start(m, month)
		}
		f := m.fetch
		i.mu.Unlock()

		select {
		case <-f.done:
			if f.err != nil {
				return nil, f.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// usable is the key in hand if its caps allow so much more, or the next one. The lock is held.
func (i *Issuer) usable(m *monthKeys, seals, bytes uint64) *SealingKey {
	for _, k := range []*SealingKey{m.current, m.next} {
		if k != nil && k.seals+seals <= i.caps.Seals && k.bytes+bytes <= i.caps.Bytes && i.now().Sub(k.Born) < i.caps.Age {
			if k == m.next {
				m.current, m.next = k, nil
			}
			return k
		}
	}
	return nil
}

func (i *Issuer) past(k *SealingKey, caps Caps) bool {
	return k.seals >= caps.Seals || k.bytes >= caps.Bytes || i.now().Sub(k.Born) >= caps.Age
}

// month finds or makes a month's entry. Of too many it drops all that no fetch is under way for: their months take a new key.
// The lock is held.
func (i *Issuer) month(month time.Time) *monthKeys {
	m := i.months[month]
	if m == nil {
		if len(i.months) >= maxMonths {
			for at, other := range i.months {
				if other.fetch == nil {
					delete(i.months, at)
				}
			}
		}
		m = &monthKeys{}
		i.months[month] = m
	}
	return m
}

// retryAhead is how long a fetch ahead of need waits after a failure, at least; twice that at most.
const retryAhead = 5 * time.Second

// fetchTimeout bounds one fetch: the KEK, its retries, and three statements.
const fetchTimeout = time.Minute

// start begins a fetch in the background: it serves everybody, so no single caller's context ends it. The lock is held.
func (i *Issuer) start(m *monthKeys, month time.Time) {
	f := &fetch{done: make(chan struct{})}
	m.fetch = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		f.key, f.err = i.make(ctx, month)
		// Closed before it sealed anything: whoever raised the epoch closed it among the others.
		for tries := 1; errors.Is(f.err, errClosed) && tries < closedTries; tries++ {
			f.key, f.err = i.make(ctx, month)
		}
		i.mu.Lock()
		if m.fetch == f { // not discarded meanwhile
			m.fetch = nil
			if f.err == nil {
				m.next = f.key
			} else {
				m.retry = i.now().Add(retryAhead + rand.N(retryAhead))
			}
		}
		i.mu.Unlock()
		close(f.done)
	}()
}

// errClosed reports a new data key that is no longer active when it is read back.
var errClosed = errors.New("the new data key was closed at once: a rotation step is under way, try again")

// closedTries is how many keys are made in a row where each is closed at once.
const closedTries = 3

// make reserves an id, has a key made under it, commits it wrapped, and reads it back, before anything is sealed.
func (i *Issuer) make(ctx context.Context, month time.Time) (*SealingKey, error) {
	db := i.vault.DB
	var id uint32
	if err := db.GetContext(ctx, &id, `SELECT cloakroom.reserve_data_key()`); err != nil {
		return nil, fmt.Errorf("reserving a data key's id: %w", pg.Redact(err))
	}
	c := kek.Binding{Vault: i.settings.ID, Purpose: kek.Seal, Key: id}
	born := i.now()
	key, wrapped, err := i.vault.KEK.GenerateDataKey(ctx, c)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	check := envelope.Check(key.Expose(), id)
	if _, err := db.ExecContext(ctx, `SELECT cloakroom.register_data_key($1, $2, $3, $4, $5, $6)`,
		id, month.Format(dateLayout), wrapped.KEK, wrapped.KEKID, wrapped.Blob, check[:]); err != nil {
		return nil, fmt.Errorf("registering %s: %w", c, pg.Redact(err))
	}
	var back struct {
		Month time.Time `db:"month"`
		State string    `db:"state"`
		WrappedKey
	}
	if err := db.GetContext(ctx, &back, `SELECT * FROM cloakroom.registered_data_key($1)`, id); err != nil {
		return nil, fmt.Errorf("reading %s back: %w", c, pg.Redact(err))
	}
	if !bytes.Equal(back.Wrapped, wrapped.Blob) || !bytes.Equal(back.KeyCheck, check[:]) || !MonthOf(back.Month).Equal(month) {
		return nil, fmt.Errorf("reading %s back: the vault holds something else than was registered: %w", c, ErrKeyCheck)
	}
	if back.State != "active" {
		return nil, fmt.Errorf("reading %s back: %w", c, errClosed)
	}
	expanded, err := envelope.NewKey(id, key.Expose())
	if err != nil {
		return nil, err
	}
	return &SealingKey{Key: expanded, Check: check, Month: month, Born: born, ahead: i.caps.ahead()}, nil
}

// Discard forgets all keys in hand: the vault no longer takes what they seal (it was restored, or its epoch was
// raised). The next Acquire has a new one made.
func (i *Issuer) Discard() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.months = map[time.Time]*monthKeys{}
}

// disused is when a month's key no longer counts as in hand: after the turn of a month its age says nothing.
const disused = 10 * time.Minute

// Oldest says how old the oldest key in hand is and how many values the keys in hand have sealed, for metrics.
func (i *Issuer) Oldest() (age time.Duration, seals uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	for _, m := range i.months {
		if m.current != nil && now.Sub(m.asked) < disused {
			age = max(age, now.Sub(m.current.Born))
			seals += m.current.seals
		}
	}
	return age, seals
}
