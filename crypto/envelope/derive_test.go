package envelope_test

import (
	"bytes"
	"testing"

	"cloakroom/crypto/envelope"
)

func TestCheckTellsKeysApart(t *testing.T) {
	key := bytes.Repeat([]byte{0x5a}, envelope.KeySize)
	other := bytes.Clone(key)
	other[31] ^= 1
	seen := map[[envelope.CheckSize]byte]string{{}: "the check of a key of another size"}
	for name, check := range map[string][envelope.CheckSize]byte{
		"key":                  envelope.Check(key, 7),
		"key under another id": envelope.Check(key, 8),
		"other key":            envelope.Check(other, 7),
	} {
		if twin, taken := seen[check]; taken {
			t.Errorf("%s has the check of %s", name, twin)
		}
		seen[check] = name
	}
	for _, size := range []int{0, 1, 31, 33} {
		if check := envelope.Check(make([]byte, size), 7); check != [envelope.CheckSize]byte{} {
			t.Errorf("a key of %d bytes has check %x", size, check)
		}
	}
}

func TestDeriveRefusesTooMuch(t *testing.T) {
	if _, err := envelope.Derive(make([]byte, envelope.KeySize), nil, 255*32+1); err == nil {
		t.Error("Derive gives more than 255 blocks")
	}
}
