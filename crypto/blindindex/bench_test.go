package blindindex_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"cloakroom/crypto/blindindex"
)

var benchValues = []struct {
	name      string
	transform blindindex.Transform
	value     string
	allocs    float64 // at most
}{
	{"ip/IPv4", blindindex.IP, "203.0.113.9", 0},
	{"ip/IPv6", blindindex.IP, "2001:db8:85a3::8a2e:370:7334", 0},
	{"text/ASCII", blindindex.Text, "199-172-056", 0},
	{"text/NFC", blindindex.Text, "Zo\u00eb Stra\u00dfe", 0},
	{"text/NFD", blindindex.Text, "Zoe\u0308 Stra\u00dfe", 3},
	{"casefold/ASCII", blindindex.CaseFold, "User-1@Example.COM", 0},
	{"casefold/Unicode", blindindex.CaseFold, "Zo\u00eb Stra\u00dfe", 9},
	{"digits", blindindex.Digits, "199-172-056", 0},
	{"alnum", blindindex.Alnum, "199-172-056", 0},
	{"trim+casefold", "trim+casefold", " User-1@Example.COM", 0},
	{"network", "ip|prefix/24", "203.0.113.9", 0},
	{"domain", "trim+casefold|domain", "User-1@Example.COM", 0},
	{"last", "digits|last/4", "4929 1234 5678 9012", 0},
}

// BenchmarkToken makes tokens with a hasher, and pairs each with the standard library's HMAC alone, reused as well,
// over the normalised value: the difference is what normalising costs.
func BenchmarkToken(b *testing.B) {
	for _, tt := range benchValues {
		token := make([]byte, 0, blindindex.TokenLength)
		b.Run(tt.name, func(b *testing.B) {
			hasher := testSubkey(b, tt.transform).NewHasher()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := hasher.AppendToken(token, tt.value); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(tt.name+"/hmac-alone", func(b *testing.B) {
			normal, err := tt.transform.AppendNormal(nil, tt.value)
			if err != nil {
				b.Fatal(err)
			}
			mac := hmac.New(sha256.New, bytes.Repeat([]byte{0x5a}, 32))
			sum := make([]byte, 0, sha256.Size)
			b.ReportAllocs()
			for b.Loop() {
				mac.Reset()
				mac.Write(normal)
				base64.RawURLEncoding.AppendEncode(token, mac.Sum(sum)[:16])
			}
		})
	}
}

func BenchmarkNormalise(b *testing.B) {
	for _, tt := range benchValues {
		b.Run(tt.name, func(b *testing.B) {
			dst := make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tt.transform.AppendNormal(dst, tt.value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestTokensDoNotAllocate(t *testing.T) {
	for _, tt := range benchValues {
		hasher := testSubkey(t, tt.transform).NewHasher()
		token := make([]byte, 0, blindindex.TokenLength)
		n := testing.AllocsPerRun(100, func() {
			if _, err := hasher.AppendToken(token, tt.value); err != nil {
				t.Error(err)
			}
		})
		if n > tt.allocs {
			t.Errorf("%s: a token allocates %v times, want %v", tt.name, n, tt.allocs)
		}
		n = testing.AllocsPerRun(100, func() {
			if _, err := tt.transform.Normalise(tt.value); err != nil {
				t.Error(err)
			}
		})
		if n > tt.allocs+1 {
			t.Errorf("%s: normalising allocates %v times, want %v", tt.name, n, tt.allocs+1)
		}
	}
}
