package etl_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
)

// spellings are the ways in which bytes may show.
func spellings(secret []byte) []string {
	return []string{
		string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
		base64.StdEncoding.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret), base64.URLEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
		strings.Trim(fmt.Sprint(secret), "[]"), strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"), strings.Trim(fmt.Sprintf("% x", secret), ""),
	}
}

// shows reports which of the secrets shows in a text, and how.
func shows(text string, secrets map[string][]byte) string {
	for name, secret := range secrets {
		for i, spelling := range spellings(secret) {
			if strings.Contains(text, spelling) {
				return fmt.Sprintf("%s (spelling %d)", name, i)
			}
		}
	}
	return ""
}

// secretsOf are the keys of a test's vault in the clear: the index key, and each data key.
func secretsOf(t *testing.T, env *keystest.Env) map[string][]byte {
	t.Helper()
	set, err := kek.Open(t.Context(), env.KEK)
	if err != nil {
		t.Fatal(err)
	}
	db := env.Open(t, "")
	var rows []struct {
		Purpose, Vault string
		ID             uint32
		KEK            string
		KEKID          string `db:"kek_id"`
		Wrapped        []byte
	}
	if err := db.Select(&rows, `
		SELECT 'seal' AS purpose, vault_id AS vault, k.id, k.kek, k.kek_id, k.wrapped FROM cloakroom.data_keys k, cloakroom.settings
		UNION ALL SELECT 'index', vault_id, k.version, k.kek, k.kek_id, k.wrapped FROM cloakroom.index_keys k, cloakroom.settings`); err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, r := range rows {
		c := kek.Binding{Purpose: kek.Purpose(r.Purpose), Key: r.ID}
		if err := c.Vault.UnmarshalText([]byte(r.Vault)); err != nil {
			t.Fatal(err)
		}
		key, err := set.Unwrap(t.Context(), kek.Wrapped{KEK: r.KEK, KEKID: r.KEKID, Blob: r.Wrapped}, c)
		if err != nil {
			t.Fatal(err)
		}
		out[c.String()] = key.Expose()
	}
	if len(out) < 2 {
		t.Fatalf("the vault has %d keys", len(out))
	}
	return out
}

type wrapper struct {
	Public  any
	private any
}

// Whatever holds a key prints none of its bytes, under any verb, in any structure, in JSON and in a
// log.
func TestKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	v := env.Vault(t, env.As(t, "ingest", "ingest"))
	s, err := v.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := keys.NewIssuer(v, s, dataset.Login().Name, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	sealing, err := issuer.Acquire(t.Context(), etltest.Today(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	index, err := v.IndexKeys(t.Context(), s, dataset.Login())
	if err != nil {
		t.Fatal(err)
	}
	ring := keys.NewKeyring(env.Vault(t, env.As(t, "rotator", "rotator")), s, nil)
	opening, err := ring.Key(t.Context(), sealing.ID())
	if err != nil {
		t.Fatal(err)
	}
	w := etltest.NewWriter(t, env, "ingest2")
	etltest.Run(t, w, etltest.NewSource(etltest.Logins(0, 3)), etl.Options{})
	secrets := secretsOf(t, env)
	secrets["the KEK"] = []byte("cloakroom keystest: a KEK of 32b")
	for name, value := range map[string]any{
		"Vault": v, "Vault's value": struct{ Vault keys.Vault }{keys.Vault{DB: v.DB, KEK: v.KEK}}, "Issuer": issuer, "SealingKey": sealing, "SealingKey's value": *sealing, "IndexKey": index[0], "IndexKeys": index,
		"Subkey": index[0].Subkeys[0], "Hasher": index[0].Subkeys[0].NewHasher(), "Keyring": ring, "Key": opening, "Key's value": *opening, "Set": v.KEK, "Writer": w,
	} {
		for _, holder := range []any{value, &value, []any{value}, map[string]any{"k": value}, wrapper{value, value}, &wrapper{value, value}} {
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", holder)
			slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", holder)
			if text, err := json.Marshal(holder); err == nil {
				log.Write(text)
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%c", "%U", "%o", "%b"} {
				fmt.Fprintf(&log, verb, holder)
			}
			if found := shows(log.String(), secrets); found != "" {
				t.Errorf("%s shows %s", name, found)
			}
		}
	}
	if shows(fmt.Sprint(secrets), secrets) == "" {
		t.Error("a key that is printed is not found: this test proves nothing")
	}
}
