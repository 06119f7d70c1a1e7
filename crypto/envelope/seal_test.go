package envelope_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"cloakroom/crypto/envelope"
)

func testKey(t testing.TB, id uint32) *envelope.Key {
	t.Helper()
	key, err := envelope.NewKey(id, bytes.Repeat([]byte{0x5a}, envelope.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testPlace() envelope.Place {
	return envelope.Place{
		Vault: [16]byte{1}, Dataset: "login", Field: "ip", Row: [16]byte{2}, Date: "2026-03-14", Subject: "user-1",
	}
}

func genPlace() *rapid.Generator[envelope.Place] {
	return rapid.Custom(func(t *rapid.T) envelope.Place {
		return envelope.Place{
			Vault:   [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "vault")),
			Dataset: rapid.StringN(1, 20, -1).Draw(t, "dataset"),
			Field:   rapid.StringN(1, 20, -1).Draw(t, "field"),
			Row:     [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "row")),
			Date:    rapid.StringMatching(`|[0-9]{4}-[0-9]{2}-[0-9]{2}`).Draw(t, "date"),
			Subject: rapid.String().Draw(t, "subject"),
		}
	})
}

func TestOpensOnlyInItsPlace(t *testing.T) {
	key := testKey(t, 7)
	rapid.Check(t, func(t *rapid.T) {
		here, there := genPlace().Draw(t, "here"), genPlace().Draw(t, "there")
		pad := rapid.IntRange(1, 100).Draw(t, "pad")
		text := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "text")

		var s envelope.Scratch
		sealed, err := key.Seal([]byte("before"), &s, &here, pad, text)
		if err != nil {
			t.Fatal(err)
		}
		sealed = bytes.TrimPrefix(sealed, []byte("before"))
		got, err := key.Open([]byte("before"), &s, &here, pad, sealed)
		if err != nil || string(got) != "before"+string(text) {
			t.Fatalf("Open = %q, %v; want %q after before", got, err, text)
		}
		if _, err := key.Open(nil, &s, &there, pad, sealed); here != there && !errors.Is(err, envelope.ErrAuthentication) {
			t.Fatalf("Open elsewhere: %v, want ErrAuthentication", err)
		}
	})
}

func TestPlacesNeverShareAssociatedData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genPlace().Draw(t, "a"), genPlace().Draw(t, "b")
		ids := rapid.SliceOfN(rapid.Uint32(), 2, 2).Draw(t, "ids")
		same := bytes.Equal(envelope.AppendAssociatedData(nil, &a, ids[0]), envelope.AppendAssociatedData(nil, &b, ids[1]))
		if same != (a == b && ids[0] == ids[1]) {
			t.Fatalf("associated data equal: %t", same)
		}
	})
}

func TestSealRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*envelope.Place)
		pad    int
		want   error // nil: any
	}{
		"no dataset":       {func(p *envelope.Place) { p.Dataset = "" }, 48, envelope.ErrPlace},
		"no field":         {func(p *envelope.Place) { p.Field = "" }, 48, envelope.ErrPlace},
		"short date":       {func(p *envelope.Place) { p.Date = "2026-3-14" }, 48, envelope.ErrPlace},
		"date and time":    {func(p *envelope.Place) { p.Date = "2026-03-14T00:00:00Z" }, 48, envelope.ErrPlace},
		"date with dots":   {func(p *envelope.Place) { p.Date = "2026.03.14" }, 48, envelope.ErrPlace},
		"date in letters":  {func(p *envelope.Place) { p.Date = "2026-Mar-4" }, 48, envelope.ErrPlace},
		"dash for a digit": {func(p *envelope.Place) { p.Date = "2026-03--4" }, 48, envelope.ErrPlace},
		"pad 0":            {func(*envelope.Place) {}, 0, nil},
		"pad negative":     {func(*envelope.Place) {}, -48, nil},
		"pad beyond max":   {func(*envelope.Place) {}, envelope.MaxPad + 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPlace()
			tt.change(&p)
			got, err := testKey(t, 7).Seal([]byte("before"), nil, &p, tt.pad, []byte("secret"))
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Seal: %v, want %v", err, tt.want)
			}
			if string(got) != "before" {
				t.Errorf("Seal returns %q with an error", got)
			}
		})
	}
}

func TestNewKeyRefuses(t *testing.T) {
	key := make([]byte, 33)
	for _, id := range []uint32{0, envelope.MaxKeyID + 1, 1<<32 - 1} {
		if _, err := envelope.NewKey(id, key[:32]); !errors.Is(err, envelope.ErrKeyID) {
			t.Errorf("NewKey(%d): %v, want ErrKeyID", id, err)
		}
	}
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := envelope.NewKey(1, key[:n]); err == nil {
			t.Errorf("NewKey takes a key of %d bytes", n)
		}
	}
}

// TestSealInSpareCapacity seals a text that lies where the result will stand.
func TestSealInSpareCapacity(t *testing.T) {
	key, p := testKey(t, 7), testPlace()
	for offset := range 64 {
		buf := make([]byte, 200)
		text := buf[offset : offset+11]
		copy(text, "203.0.113.9")
		sealed, err := key.Seal(buf[:0], nil, &p, 48, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := key.Open(nil, nil, &p, 48, sealed); err != nil || string(got) != "203.0.113.9" {
			t.Errorf("text at %d: Open = %q, %v", offset, got, err)
		}
	}
}

// TestNoTextRemains looks for the text in all the memory that Seal, and an Open that failed, wrote to.
func TestNoTextRemains(t *testing.T) {
	key, p := testKey(t, 7), testPlace()
	text := []byte("203.0.113.9")
	buf := make([]byte, 0, 200)
	sealed, err := key.Seal(buf, nil, &p, 48, text)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(buf[:cap(buf)], text[:4]) {
		t.Error("Seal leaves the text in dst")
	}
	sealed = bytes.Clone(sealed)
	sealed[len(sealed)-1] ^= 1
	clear(buf[:cap(buf)])
	if _, err := key.Open(buf, nil, &p, 48, sealed); !errors.Is(err, envelope.ErrAuthentication) {
		t.Fatal(err)
	}
	if bytes.Contains(buf[:cap(buf)], text[:4]) {
		t.Error("Open leaves unauthenticated text in dst")
	}
}

// TestNoBadlyPaddedTextRemains is the same for values that are authentic, but refused.
func TestNoBadlyPaddedTextRemains(t *testing.T) {
	for _, v := range readVectors(t) {
		if v.Want != "padding" {
			continue
		}
		key, err := envelope.NewKey(v.KeyID, v.Key)
		if err != nil {
			t.Fatal(err)
		}
		buf, p := make([]byte, 0, 200), v.Place.place()
		if _, err := key.Open(buf, nil, &p, v.Pad, v.Sealed); !errors.Is(err, envelope.ErrPadding) {
			t.Fatal(err)
		}
		if bytes.Contains(buf[:cap(buf)], []byte("d")) {
			t.Errorf("%s: Open leaves text in dst", v.Name)
		}
	}
}

func TestNoncesDiffer(t *testing.T) {
	key, p := testKey(t, 7), testPlace()
	seen := map[string]bool{}
	for range 1000 {
		sealed, err := key.Seal(nil, nil, &p, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(sealed[5:17])] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1000 seals used %d nonces", len(seen))
	}
}

func TestKeyIsSafeForConcurrentUse(t *testing.T) {
	key := testKey(t, 7)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var s envelope.Scratch
			p := testPlace()
			for range 200 {
				sealed, err := key.Seal(nil, &s, &p, 48, []byte("203.0.113.9"))
				if err == nil {
					_, err = key.Open(nil, &s, &p, 48, sealed)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestErrorsQuoteNothing(t *testing.T) {
	for _, v := range readVectors(t) {
		key, err := envelope.NewKey(v.KeyID, v.Key)
		if err != nil {
			t.Fatal(err)
		}
		p := v.Place.place()
		if _, err := key.Open(nil, nil, &p, v.Pad, v.Sealed); err != nil {
			for _, secret := range []string{"203.0.113", "user-", "ddd"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: error quotes %q: %v", v.Name, secret, err)
				}
			}
		}
	}
}
