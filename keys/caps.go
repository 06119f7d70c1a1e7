package keys

import (
	"fmt"
	"math/rand/v2"
	"time"

	"cloakroom/crypto/envelope"
)

// Caps bound the use of one data key. Zero fields take the defaults named beside them; a cap can be lowered, not raised.
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

// A constant expression that does not compile once the default passes the hard limit of NIST SP 800-38D.
const _ = uint64(envelope.MaxSeals - defaultSeals)

// Normalised applies the defaults and refuses a cap above them.
func (c Caps) Normalised() (Caps, error) {
	if c.Seals == 0 {
		c.Seals = defaultSeals
	}
	if c.Bytes == 0 {
		c.Bytes = defaultBytes
	}
	if c.Age == 0 {
		c.Age = defaultAge
	}
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

// ahead is when to fetch the next key: at 75 to 90 percent of whichever cap comes first, drawn per key so that many
// processes started together do not call KMS together.
func (c Caps) ahead() Caps {
	share := 0.75 + 0.15*rand.Float64()
	return Caps{
		Seals: uint64(float64(c.Seals) * share),
		Bytes: uint64(float64(c.Bytes) * share),
		Age:   time.Duration(float64(c.Age) * share),
	}
}
