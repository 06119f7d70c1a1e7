package envelope_test

import (
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"cloakroom/crypto/envelope"
)

// The fields of the login dataset, as they come.
var benchTexts = []struct {
	name string
	pad  int
	text []byte
}{
	{"ip", 48, []byte("203.0.113.9")},
	{"device_id", 32, []byte("199-172-056")},
	{"body", 64, make([]byte, 1024)},
}

func benchAEAD(b *testing.B) cipher.AEAD {
	block, err := aes.NewCipher(make([]byte, envelope.KeySize))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	return aead
}

// BenchmarkSeal seals with the package, and pairs each with the standard library's cipher alone over the same bytes:
// the difference is what the format costs.
func BenchmarkSeal(b *testing.B) {
	key, p := testKey(b, 7), testPlace()
	for _, tt := range benchTexts {
		dst := make([]byte, 0, envelope.SealedSize(len(tt.text), tt.pad))
		b.Run(tt.name, func(b *testing.B) {
			var s envelope.Scratch
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Seal(dst, &s, &p, tt.pad, tt.text); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(tt.name+"/cipher-alone", func(b *testing.B) {
			aead := benchAEAD(b)
			padded := iso(string(tt.text), tt.pad)
			ad := envelope.AppendAssociatedData(nil, &p, 7)
			b.ReportAllocs()
			for b.Loop() {
				aead.Seal(dst, nil, padded, ad)
			}
		})
	}
}

// BenchmarkOpen is the same for opening.
func BenchmarkOpen(b *testing.B) {
	key, p := testKey(b, 7), testPlace()
	for _, tt := range benchTexts {
		dst := make([]byte, 0, envelope.SealedSize(len(tt.text), tt.pad))
		b.Run(tt.name, func(b *testing.B) {
			var s envelope.Scratch
			sealed, err := key.Seal(nil, &s, &p, tt.pad, tt.text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Open(dst, &s, &p, tt.pad, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(tt.name+"/cipher-alone", func(b *testing.B) {
			aead := benchAEAD(b)
			ad := envelope.AppendAssociatedData(nil, &p, 7)
			box := aead.Seal(nil, nil, iso(string(tt.text), tt.pad), ad)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := aead.Open(dst, nil, box, ad); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestSealAndOpenDoNotAllocate(t *testing.T) {
	key, p := testKey(t, 7), testPlace()
	var s envelope.Scratch
	for _, tt := range benchTexts {
		sealed := make([]byte, 0, envelope.SealedSize(len(tt.text), tt.pad))
		opened := make([]byte, 0, len(tt.text)+tt.pad)
		n := testing.AllocsPerRun(100, func() {
			var err error
			if sealed, err = key.Seal(sealed[:0], &s, &p, tt.pad, tt.text); err != nil {
				t.Error(err)
			}
			if opened, err = key.Open(opened[:0], &s, &p, tt.pad, sealed); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: sealing and opening allocate %v times", tt.name, n)
		}
	}
}
