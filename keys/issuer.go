package keys

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cloakroom/internal/pg"
)

// Issuer hands out data keys for sealing, for one dataset, one per month of create_date at a time. While the KEK or the
// database is away it goes on with the key in hand until a cap is reached. It is safe for concurrent use.
type Issuer struct {
	vault    *Vault
	settings Settings
	dataset  string
	caps     Caps
	now      func() time.Time

	mu     sync.Mutex
	months map[time.Time]*monthKeys
}

type monthKeys struct {
	current *SealingKey
	next    *SealingKey
	fetch   *fetch    // nil: none is running
	retry   time.Time // a fetch ahead of need that failed is not tried again before this
	refused time.Time // until then the vault's refusal of a new key lets the current one pass its age
	asked   time.Time // when a key of this month was last asked for
}

// fetch is one request for a new data key. All callers that need the key wait for the same one.
type fetch struct {
	done chan struct{}
	key  *SealingKey
	err  error
}

// maxMonths bounds the memory of a backfill in random date order; in date order it needs two.
const maxMonths = 64

// NewIssuer makes an issuer of keys for a dataset of the vault with these settings.
func NewIssuer(v *Vault, s Settings, dataset string, caps Caps) (*Issuer, error) {
	caps, err := caps.Normalised()
	if err != nil {
		return nil, err
	}
	return &Issuer{vault: v, settings: s, dataset: dataset, caps: caps, now: time.Now, months: map[time.Time]*monthKeys{}}, nil
}

// Acquire gives a data key that may seal a given number of values and bytes of rows dated in the month of
// date, and counts them against its caps. It calls the KEK only if there is no such key in hand, or
// soon will not be.
//
// Errors wrap those of package kek or the database's. After kek.ErrUnavailable, or with a database
// that is away, the same call may succeed later.
func (i *Issuer) Acquire(ctx context.Context, date time.Time, seals, bytes uint64) (*SealingKey, error) {
	if seals > i.caps.Seals || bytes > i.caps.Bytes {
		return nil, fmt.Errorf("acquiring a data key: %d values of %d bytes are more than one data key may seal "+
			"(%d, %d bytes): make batches smaller",
			seals, bytes, i.caps.Seals, i.caps.Bytes)
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
			if f.err != nil && !i.goOn(month, seals, bytes) {
				return nil, f.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// usable is the first of the current and the next key whose caps allow so much more; nil: neither.
// The lock is held.
func (i *Issuer) usable(m *monthKeys, seals, bytes uint64) *SealingKey {
	for _, k := range []*SealingKey{m.current, m.next} {
		if k != nil && k.seals+seals <= i.caps.Seals && k.bytes+bytes <= i.caps.Bytes &&
			(i.now().Sub(k.Born) < i.caps.Age || i.now().Before(m.refused)) {
			if k == m.next {
				m.current, m.next = k, nil
			}
			return k
		}
	}
	return nil
}

// goOn reports that there is a key to go on with, though no new one is to be had.
func (i *Issuer) goOn(month time.Time, seals, bytes uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.usable(i.month(month), seals, bytes) != nil
}

func (i *Issuer) past(k *SealingKey, caps Caps) bool {
	return k.seals >= caps.Seals || k.bytes >= caps.Bytes || i.now().Sub(k.Born) >= caps.Age
}

// month finds or makes a month's entry. If there are too many, it drops all but those with a
// running fetch: their months will take a new key. The lock is held.
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

// start begins a fetch in the background. It serves all callers, so no single caller's context ends
// it. The lock is held.
func (i *Issuer) start(m *monthKeys, month time.Time) {
	f := &fetch{done: make(chan struct{})}
	m.fetch = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		for range closedTries {
			f.key, f.err = i.vault.newDataKey(ctx, i.settings, i.dataset, month, i.now())
			if !errors.Is(f.err, errClosed) {
				break
			}
		}
		i.mu.Lock()
		if m.fetch == f { // not discarded meanwhile
			m.fetch = nil
			if f.err == nil {
				m.next, f.key.ahead = f.key, i.caps.ahead()
			} else {
				m.retry = i.now().Add(retryAhead + rand.N(retryAhead))
				if refusesKeys(f.err) {
					m.refused = m.retry.Add(fetchTimeout)
				}
			}
		}
		i.mu.Unlock()
		close(f.done)
	}()
}

// refusesKeys reports that the vault takes no key of this login now: too many are registered, the KEK is not the vault's,
// or another session of this login holds the registration's lock. Who has the login could bring that about, so it
// must not stop those who seal: they go on under the key they have, past its age, to its other caps.
func refusesKeys(err error) bool {
	return slices.Contains([]string{pg.TooManyKeys, pg.UnknownKEK, "55P03", "57014"}, pg.Code(err))
}

// closedTries is how many keys are made in a row if a rotation step, which raises the epoch, closes
// each before it seals.
const closedTries = 3

// Discard drops all keys in hand. Call it when the vault no longer takes what they seal: it was
// restored, or its epoch was raised. The next Acquire has a new key made.
func (i *Issuer) Discard() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.months = map[time.Time]*monthKeys{}
}

// disused is how long after its last use a month's key still counts as in hand. After the turn of a
// month its age means nothing.
const disused = 10 * time.Minute

// Oldest is the age of the oldest key in hand and how many values all keys in hand have sealed, for
// metrics.
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
