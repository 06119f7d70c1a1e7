package blindindex_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"cloakroom/crypto/blindindex"
)

func testSubkey(t testing.TB, transform blindindex.Transform) *blindindex.Subkey {
	t.Helper()
	key := bytes.Repeat([]byte{0x5a}, blindindex.KeySize)
	subkey, err := blindindex.Derive(key, "login", "ip", transform, 1)
	if err != nil {
		t.Fatal(err)
	}
	return subkey
}

func TestDeriveRefuses(t *testing.T) {
	key := make([]byte, 33)
	for name, tt := range map[string]struct {
		keySize        int
		dataset, field string
		transform      blindindex.Transform
		version        uint32
	}{
		"no key":            {0, "login", "ip", blindindex.IP, 1},
		"short key":         {31, "login", "ip", blindindex.IP, 1},
		"long key":          {33, "login", "ip", blindindex.IP, 1},
		"no dataset":        {32, "", "ip", blindindex.IP, 1},
		"no field":          {32, "login", "", blindindex.IP, 1},
		"unknown transform": {32, "login", "ip", "rot13", 1},
		"version 0":         {32, "login", "ip", blindindex.IP, 0},
	} {
		if _, err := blindindex.Derive(key[:tt.keySize], tt.dataset, tt.field, tt.transform, tt.version); err == nil {
			t.Errorf("Derive takes %s", name)
		}
	}
}

func TestDestroyedSubkeyMakesNoToken(t *testing.T) {
	subkey := testSubkey(t, blindindex.IP)
	before := subkey.NewHasher()
	subkey.Destroy()
	subkey.Destroy()
	if token, err := subkey.Token("203.0.113.9"); token != "" || !errors.Is(err, blindindex.ErrDestroyed) {
		t.Errorf("Token = %q, %v; want ErrDestroyed", token, err)
	}
	for name, hasher := range map[string]*blindindex.Hasher{"before": before, "after": subkey.NewHasher()} {
		if token, err := hasher.AppendToken(nil, "203.0.113.9"); token != nil || !errors.Is(err, blindindex.ErrDestroyed) {
			t.Errorf("hasher made %s Destroy: AppendToken = %q, %v; want ErrDestroyed", name, token, err)
		}
	}
}

func TestSecretsAreZeroed(t *testing.T) {
	subkey := testSubkey(t, blindindex.Text)
	hasher := subkey.NewHasher()
	if _, err := hasher.AppendToken(nil, "199-172-056"); err != nil {
		t.Fatal(err)
	}
	if room := blindindex.HasherRoom(hasher); len(room) == 0 || len(bytes.Trim(room, "\x00")) > 0 {
		t.Errorf("a hasher keeps %q", room)
	}
	subkey.Destroy()
	if key := blindindex.SubkeyBytes(subkey); len(bytes.Trim(key, "\x00")) > 0 {
		t.Error("Destroy leaves the subkey")
	}
}

// TestSubkeyIsSafeForConcurrentUse destroys a subkey in use: each token is the right one or none.
func TestSubkeyIsSafeForConcurrentUse(t *testing.T) {
	subkey := testSubkey(t, blindindex.IP)
	want, err := subkey.Token("203.0.113.9")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 100 {
				token, err := subkey.Token("203.0.113.9")
				if token != want && !errors.Is(err, blindindex.ErrDestroyed) {
					t.Errorf("Token = %q, %v; want %q", token, err, want)
				}
			}
			if n == 7 {
				subkey.Destroy()
			}
		})
	}
	wg.Wait()
}

// TestSubkeyPrintsNothing prints a subkey every way there is, also where fmt cannot call its methods.
func TestSubkeyPrintsNothing(t *testing.T) {
	subkey, err := blindindex.Derive(bytes.Repeat([]byte{0x5a}, blindindex.KeySize), "login", "ip", blindindex.IP, 1)
	if err != nil {
		t.Fatal(err)
	}
	raw := blindindex.SubkeyBytes(subkey)
	hasher := subkey.NewHasher()
	if _, err := hasher.AppendToken(nil, "203.0.113.9"); err != nil {
		t.Fatal(err)
	}
	type holder struct {
		subkey  blindindex.Subkey
		pointer *blindindex.Subkey
		hasher  blindindex.Hasher
		any     any
	}
	var printed strings.Builder
	held := holder{*subkey, subkey, *hasher, *subkey}
	for _, v := range []any{subkey, *subkey, hasher, *hasher, held, &held, []any{*subkey, *hasher}} {
		for _, verb := range "vdsqxXotTcbUp" {
			for _, flag := range []string{"", "+", "#", " "} {
				fmt.Fprintf(&printed, "%"+flag+string(verb)+"\n", v)
			}
		}
		slog.New(slog.NewTextHandler(&printed, nil)).Info("key", "key", v)
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("key", "key", v)
	}
	secrets := map[string][]byte{
		"value":      []byte("203.0.113.9"),
		"HMAC state": []byte("sha\x03"), // how a SHA-256 state begins when marshalled
	}
	for n := range len(raw) - 3 {
		secrets[fmt.Sprintf("subkey from byte %d", n)] = raw[n : n+4]
	}
	for name, part := range secrets {
		for _, form := range []string{
			string(part), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part),
			strings.Trim(fmt.Sprint(part), "[]"), strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
		} {
			if strings.Contains(printed.String(), form) {
				t.Errorf("%s is printed as %q", name, form)
			}
		}
	}
	for _, v := range []any{subkey, *subkey, hasher, *hasher} {
		if got := fmt.Sprintf("%+v", v); got != "[redacted]" {
			t.Errorf("%T prints %q", v, got)
		}
	}
}
