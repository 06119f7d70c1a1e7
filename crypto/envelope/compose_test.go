package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"slices"
	"testing"

	"cloakroom/crypto/envelope"
)

// compose builds a sealed value from the standard library alone, as docs/format.md describes it, without a line of
// this package. Its nonce is fixed, which only a test may do.
func compose(t *testing.T, key []byte, keyID uint32, p envelope.Place, padded []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Skip("no GCM with a chosen nonce under GODEBUG=fips140=only:", err)
	}
	nonce := []byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab}
	box := gcm.Seal(nil, nonce, padded, composeAD(keyID, p))
	return slices.Concat([]byte{1}, binary.BigEndian.AppendUint32(nil, keyID), nonce, box)
}

// decompose is the reverse: it opens a sealed value with the standard library alone, and returns the padded text.
func decompose(t *testing.T, key []byte, keyID uint32, p envelope.Place, sealed []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	if header := binary.BigEndian.AppendUint32([]byte{1}, keyID); !bytes.HasPrefix(sealed, header) {
		t.Fatalf("sealed value begins %x, want %x", sealed[:5], header)
	}
	padded, err := gcm.Open(nil, nil, sealed[5:], composeAD(keyID, p))
	if err != nil {
		t.Fatal(err)
	}
	return padded
}

func composeAD(keyID uint32, p envelope.Place) []byte {
	id := string(binary.BigEndian.AppendUint32(nil, keyID))
	var ad bytes.Buffer
	for _, field := range []string{
		"cloakroom/v1", string(p.Vault[:]), p.Dataset, p.Field, string(p.Row[:]), id, p.Date, p.Subject,
	} {
		_ = binary.Write(&ad, binary.BigEndian, uint32(len(field)))
		ad.WriteString(field)
	}
	return ad.Bytes()
}

// iso pads text by hand.
func iso(text string, pad int) []byte {
	padded := []byte(text + "\x80")
	for len(padded)%pad != 0 {
		padded = append(padded, 0)
	}
	return padded
}
