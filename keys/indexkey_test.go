package keys_test

import (
	"errors"
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
)

func indexKeys(t *testing.T, v *keys.Vault) ([]keys.IndexKey, error) {
	t.Helper()
	s, err := v.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.IndexKeys(t.Context(), s, dataset.Login())
}

// Two processes make one and the same token; two fields, and two vaults, do not.
func TestIndexKeys(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	seen := map[string]bool{}
	for _, login := range []string{"ingest", "auditor", "rotator"} {
		index, err := indexKeys(t, env.Vault(t, env.As(t, login, login)))
		if err != nil {
			t.Fatal(err)
		}
		if len(index) != 1 || index[0].Version != 1 || len(index[0].Subkeys) != len(dataset.Login().Protected()) {
			t.Fatalf("%d versions", len(index))
		}
		for i := range index[0].Subkeys {
			token, err := index[0].Subkeys[i].Token("192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			seen[token] = true
		}
		index[0].Destroy()
		if _, err := index[0].Subkeys[0].Token("192.0.2.1"); err == nil {
			t.Error("a destroyed subkey makes a token")
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d tokens of one value in two fields, by three processes; want 2", len(seen))
	}
}

func TestIndexKeysDamaged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage string
		want   error
	}{
		"wrapped bytes": {`UPDATE cloakroom.index_keys SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)`, kek.ErrUnwrap},
		"key check":     {`UPDATE cloakroom.index_keys SET key_check = set_byte(key_check, 0, get_byte(key_check, 0) # 1)`, keys.ErrKeyCheck},
		"version":       {`UPDATE cloakroom.index_keys SET version = 2`, kek.ErrUnwrap},
		"vault":         {`UPDATE cloakroom.settings SET vault_id = gen_random_uuid()`, kek.ErrUnwrap},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			env.Open(t, "").MustExec(c.damage)
			if _, err := indexKeys(t, env.Vault(t, env.As(t, "ingest", "ingest"))); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	env := keystest.New(t)
	env.Open(t, "").MustExec(`DELETE FROM cloakroom.index_keys`)
	if _, err := indexKeys(t, env.Vault(t, env.As(t, "ingest",
		"ingest"))); err == nil || !strings.Contains(err.Error(), "keys init") {
		t.Errorf("without an index key: %v, want a hint", err)
	}
}
