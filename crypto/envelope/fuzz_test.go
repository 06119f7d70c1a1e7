package envelope_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cloakroom/crypto/envelope"
)

// seedFile is a file of a fuzz target's corpus, for arguments of types []byte and int.
func seedFile(sealed []byte, pad int) []byte {
	return fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\nint(%d)\n", sealed, pad)
}

// TestFuzzSeeds fails if a fuzz target has lost its seeds, which nothing else would notice.
func TestFuzzSeeds(t *testing.T) {
	for _, target := range []string{"FuzzParse", "FuzzSeal", "FuzzFields"} {
		seeds, err := filepath.Glob(filepath.Join("testdata/fuzz", target, "*"))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has %d seeds: %v", target, len(seeds), err)
		}
	}
	if _, err := os.Stat(vectorsFile); err != nil {
		t.Error(err)
	}
}

// FuzzParse parses anything, and what it accepts appends as the same bytes.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, sealed []byte, pad int) {
		v, err := envelope.Parse(sealed, pad)
		if err != nil {
			if v.KeyID != 0 || v.Box != nil {
				t.Errorf("Parse returns a value with error %v", err)
			}
			return
		}
		if v.KeyID < 1 || v.KeyID > envelope.MaxKeyID || len(v.Box) < 12+pad+16 || (len(v.Box)-12-16)%pad != 0 {
			t.Errorf("Parse accepts key id %d, box of %d bytes, pad %d", v.KeyID, len(v.Box), pad)
		}
		if got := v.Append([]byte("x")); string(got) != "x"+string(sealed) {
			t.Errorf("Append = %x, want 78 and %x", got, sealed)
		}
	})
}

// FuzzSeal opens what it sealed, and nothing that differs from it in a bit.
func FuzzSeal(f *testing.F) {
	f.Fuzz(func(t *testing.T, plaintext []byte, pad int, field, subject string, bit uint) {
		key := testKey(t, 7)
		p := testPlace()
		p.Field, p.Subject = field, subject
		sealed, err := key.Seal(nil, nil, &p, pad, plaintext)
		if err != nil {
			if field != "" && pad >= 1 && pad <= envelope.MaxPad {
				t.Fatal(err)
			}
			return
		}
		if want := envelope.SealedSize(len(plaintext), pad); len(sealed) != want {
			t.Errorf("sealed value has %d bytes, want %d", len(sealed), want)
		}
		got, err := key.Open(nil, nil, &p, pad, sealed)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("Open = %q, %v; want %q", got, err, plaintext)
		}
		bit %= uint(len(sealed)) * 8
		sealed[bit/8] ^= 1 << (bit % 8)
		if _, err := key.Open(nil, nil, &p, pad, sealed); err == nil {
			t.Errorf("bit %d flipped, and the value opens", bit)
		}
	})
}

// FuzzFields reads encoding E back: a list of fields has one encoding, and an encoding one list.
func FuzzFields(f *testing.F) {
	f.Fuzz(func(t *testing.T, a, b string, n uint32, c []byte) {
		encoded := envelope.AppendFields(envelope.AppendUint32(envelope.AppendFields(nil, a, b), n), c)
		want := []string{a, b, string(binary.BigEndian.AppendUint32(nil, n)), string(c)}
		for i, field := range want {
			if len(encoded) < 4 {
				t.Fatalf("field %d is missing", i)
			}
			size := int(binary.BigEndian.Uint32(encoded))
			if encoded = encoded[4:]; size != len(field) || string(encoded[:size]) != field {
				t.Fatalf("field %d has %d bytes, want %q", i, size, field)
			}
			encoded = encoded[size:]
		}
		if len(encoded) != 0 {
			t.Errorf("%d bytes follow the last field", len(encoded))
		}
	})
}
