package envelope_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloakroom/crypto/envelope"
)

// TestVectorsAreComposed holds the stored vectors, and so the code, to an independent composition of the format.
func TestVectorsAreComposed(t *testing.T) {
	composed := composeVectors(t)
	if *update {
		writeVectors(t, composed)
	}
	opts := cmp.Options{cmpopts.IgnoreUnexported(vector{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(composed, readVectors(t), opts); diff != "" {
		t.Errorf("composed (-) and stored (+) vectors differ:\n%s", diff)
	}
}

// writeVectors writes the vectors, and each sealed value as a seed for FuzzParse.
func writeVectors(t *testing.T, all []vector) {
	t.Helper()
	file, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(file, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		name := strings.NewReplacer(" ", "-", ",", "").Replace(v.Name)
		seed := seedFile(v.Sealed, v.Pad)
		if err := os.WriteFile(filepath.Join("testdata/fuzz/FuzzParse", name), seed, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// composeVectors lists one vector per way to succeed and per way to fail.
func composeVectors(t *testing.T) []vector {
	t.Helper()
	key := make([]byte, envelope.KeySize)
	for i := range key {
		key[i] = byte(i)
	}
	base := vector{
		Key: key, KeyID: 7, Pad: 48, Plaintext: []byte("203.0.113.9"), Want: "ok",
		Place: place{
			Vault: bytes16(0x10), Dataset: "login", Field: "ip", Row: bytes16(0x20),
			Date: "2026-03-14", Subject: "user-1",
		},
	}
	var all []vector
	// add composes a value from what before sets, then lets after change what Open is given.
	add := func(name, want string, before, after func(*vector)) {
		v := base
		v.Name = name
		if before != nil {
			before(&v)
		}
		padded := v.padded
		if padded == nil {
			padded = iso(string(v.Plaintext), v.Pad)
		}
		v.Sealed = compose(t, v.Key, v.KeyID, v.Place.place(), padded)
		if v.Want = want; want != "ok" {
			v.Plaintext = nil
		}
		if after != nil {
			after(&v)
		}
		all = append(all, v)
	}
	text := func(s string, pad int) func(*vector) {
		return func(v *vector) { v.Plaintext, v.Pad = []byte(s), pad }
	}
	padded := func(p string) func(*vector) { return func(v *vector) { v.padded = []byte(p) } }
	cut := func(n int) func(*vector) { return func(v *vector) { v.Sealed = v.Sealed[:n] } }
	grow := func(n int) func(*vector) { return func(v *vector) { v.Sealed = append(v.Sealed, make([]byte, n)...) } }
	flip := func(i int, bit byte) func(*vector) { return func(v *vector) { v.Sealed[i] ^= bit } }

	add("IPv4 address", "ok", nil, nil)
	add("longest IPv6 address fits one pad", "ok", text("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", 48), nil)
	add("text one byte shorter than pad", "ok", text(strings.Repeat("d", 31), 32), nil)
	add("text as long as pad takes two", "ok", text(strings.Repeat("d", 32), 32), nil)
	add("empty text", "ok", text("", 32), nil)
	add("pad of 1", "ok", text("199-172-056", 1), nil)
	add("text that ends like padding", "ok", text("\x80\x00\x80\x00\x00", 16), nil)
	add("text that is not UTF-8", "ok", text("\xff\xfe\x00", 16), nil)
	add("greatest key id", "ok", func(v *vector) { v.KeyID = envelope.MaxKeyID }, nil)
	add("subject beyond ASCII", "ok", func(v *vector) { v.Place.Subject = "日本 ü" }, nil)
	add("rejection", "ok", func(v *vector) {
		v.Plaintext, v.Pad = []byte(`{"foo":1}`), 64
		v.Place.Field, v.Place.Date, v.Place.Subject = "body", "", ""
	}, nil)

	add("no bytes", "short", nil, cut(0))
	add("version alone", "short", nil, cut(1))
	add("key id cut", "short", nil, cut(4))
	add("header alone", "short", nil, cut(5))
	add("nonce cut", "short", nil, cut(5+11))
	add("nothing after the nonce", "short", nil, cut(5+12))
	add("tag missing", "short", nil, cut(5+12+48))
	add("last byte missing", "short", nil, cut(5+12+48+15))
	add("version 0", "version", nil, flip(0, 1))
	add("version 2", "version", nil, flip(0, 3))
	add("version 2, otherwise short", "version", nil, func(v *vector) { v.Sealed = []byte{2} })
	add("one byte more", "trailing", nil, grow(1))
	add("one byte less than a whole pad more", "trailing", nil, grow(47))
	add("a byte missing from two pads", "trailing", text(strings.Repeat("d", 32), 32), cut(5+12+64+15))
	add("another field's pad", "trailing", text(strings.Repeat("d", 32), 32), func(v *vector) { v.Pad = 48 })
	add("a whole pad more", "authentication", nil, grow(48))
	add("one byte more with a pad of 1", "authentication", text("d", 1), grow(1))
	add("a whole pad missing", "authentication", text(strings.Repeat("d", 32), 32), cut(5+12+32+16))
	add("key id 0", "key_id", nil, flip(4, 7))
	add("key id beyond the greatest", "key_id", nil, flip(1, 0x80))
	add("another key's id", "key_id", nil, flip(4, 1))
	add("opened with another key", "key_id", nil, func(v *vector) { v.KeyID = 8 })
	add("same key under another id", "authentication", nil, func(v *vector) { v.KeyID = 6; v.Sealed[4] = 6 })
	add("other key under the same id", "authentication", nil, func(v *vector) { v.Key = bytes.Repeat([]byte{0xee}, 32) })
	add("wrong vault", "authentication", nil, func(v *vector) { v.Place.Vault = bytes16(0x30) })
	add("wrong dataset", "authentication", nil, func(v *vector) { v.Place.Dataset = "logout" })
	add("wrong field", "authentication", nil, func(v *vector) { v.Place.Field = "device_id" })
	add("wrong row", "authentication", nil, func(v *vector) { v.Place.Row = bytes16(0x30) })
	add("wrong date", "authentication", nil, func(v *vector) { v.Place.Date = "2026-03-15" })
	add("wrong subject", "authentication", nil, func(v *vector) { v.Place.Subject = "user-2" })
	add("date missing", "authentication", nil, func(v *vector) { v.Place.Date = "" })
	add("letter moved from field to dataset", "authentication", nil, func(v *vector) {
		v.Place.Dataset, v.Place.Field = "logini", "p"
	})
	add("date and subject joined", "authentication", nil, func(v *vector) {
		v.Place.Date, v.Place.Subject = "", v.Place.Date+v.Place.Subject
	})
	add("bit flipped in the nonce", "authentication", nil, flip(5, 0x01))
	add("bit flipped in the ciphertext", "authentication", nil, flip(5+12, 0x80))
	add("bit flipped in the encrypted padding", "authentication", nil, flip(5+12+47, 0x01))
	add("bit flipped in the tag", "authentication", nil, flip(5+12+48+15, 0x01))
	add("padding all zeros", "padding", padded(strings.Repeat("\x00", 48)), nil)
	add("padding missing", "padding", padded(strings.Repeat("d", 48)), nil)
	add("padding broken after its mark", "padding", padded("d\x80"+strings.Repeat("\x00", 45)+"\x01"), nil)
	add("padding a whole pad too long", "padding", padded("d\x80"+strings.Repeat("\x00", 94)), nil)
	return all
}

func bytes16(first byte) hexBytes {
	b := make([]byte, 16)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}
