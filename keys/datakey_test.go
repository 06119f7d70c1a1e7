package keys_test

import (
	"testing"
	"time"

	"cloakroom/keys"
)

func TestCaps(t *testing.T) {
	t.Parallel()
	full := keys.Caps{Seals: 1 << 28, Bytes: 64 << 30, Age: time.Hour}
	for name, c := range map[string]struct {
		in, want keys.Caps
		ok       bool
	}{
		"defaults":        {keys.Caps{}, full, true},
		"the ceilings":    {full, full, true},
		"lower":           {keys.Caps{Seals: 1, Bytes: 1, Age: 1}, keys.Caps{Seals: 1, Bytes: 1, Age: 1}, true},
		"more seals":      {keys.Caps{Seals: 1<<28 + 1}, keys.Caps{}, false},
		"more bytes":      {keys.Caps{Bytes: 64<<30 + 1}, keys.Caps{}, false},
		"older":           {keys.Caps{Age: time.Hour + 1}, keys.Caps{}, false},
		"of the past":     {keys.Caps{Age: -1}, keys.Caps{}, false},
		"no limit at all": {keys.Caps{Seals: 1 << 63}, keys.Caps{}, false},
	} {
		got, err := c.in.Normalised()
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
