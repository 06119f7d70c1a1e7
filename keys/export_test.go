package keys

import "time"

// SetClock gives an issuer another clock. Call it before the first Acquire.
func (i *Issuer) SetClock(now func() time.Time) { i.now = now }

// Months is how many months the issuer keeps keys for.
func (i *Issuer) Months() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.months)
}

// Know lets a vault without a database follow KEKs.
func (v *Vault) Know(ids ...string) *Vault {
	known := map[string]bool{}
	for _, id := range ids {
		known[id] = true
	}
	v.known.Store(&known)
	return v
}

// For tests at the bounds.
const (
	KeyringSize = keyringSize
	KeyringTTL  = keyringTTL
	MaxMonths   = maxMonths
)
