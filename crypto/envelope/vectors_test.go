package envelope_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"

	"cloakroom/crypto/envelope"
)

var update = flag.Bool("update", false, "write testdata again; the format is frozen, so nothing should change")

const vectorsFile = "testdata/vectors.json"

// vector is a sealed value and what opening it gives.
type vector struct {
	Name      string   `json:"name"`
	Key       hexBytes `json:"key"`
	KeyID     uint32   `json:"key_id"`
	Place     place    `json:"place"`
	Pad       int      `json:"pad"`
	Sealed    hexBytes `json:"sealed"`
	Want      string   `json:"want"` // a key of wantErrors
	Plaintext hexBytes `json:"plaintext,omitempty"`

	padded []byte // instead of the plaintext rightly padded, when composing
}

// place is [envelope.Place] in JSON.
type place struct {
	Vault   hexBytes `json:"vault"`
	Dataset string   `json:"dataset"`
	Field   string   `json:"field"`
	Row     hexBytes `json:"row"`
	Date    string   `json:"date"`
	Subject string   `json:"subject"`
}

func (p place) place() envelope.Place {
	return envelope.Place{
		Vault: [16]byte(p.Vault), Dataset: p.Dataset, Field: p.Field, Row: [16]byte(p.Row), Date: p.Date, Subject: p.Subject,
	}
}

var wantErrors = map[string]error{
	"ok":             nil,
	"version":        envelope.ErrVersion,
	"short":          envelope.ErrShort,
	"trailing":       envelope.ErrTrailing,
	"key_id":         envelope.ErrKeyID,
	"authentication": envelope.ErrAuthentication,
	"padding":        envelope.ErrPadding,
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	file, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(file, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVectors(t *testing.T) {
	seen := map[string]int{}
	for _, v := range readVectors(t) {
		seen[v.Want]++
		t.Run(v.Name, func(t *testing.T) {
			want, known := wantErrors[v.Want]
			if !known {
				t.Fatalf("unknown result %q", v.Want)
			}
			key, err := envelope.NewKey(v.KeyID, v.Key)
			if err != nil {
				t.Fatal(err)
			}
			p := v.Place.place()
			got, err := key.Open([]byte("before"), nil, &p, v.Pad, v.Sealed)
			if !errors.Is(err, want) {
				t.Fatalf("Open: %v, want %v", err, want)
			}
			if want := "before" + string(v.Plaintext); string(got) != want {
				t.Errorf("Open = %q, want %q", got, want)
			}
			for name, other := range wantErrors {
				if other != nil && other != want && errors.Is(err, other) {
					t.Errorf("error is also %s: %v", name, err)
				}
			}
		})
	}
	for want := range wantErrors {
		if seen[want] == 0 {
			t.Errorf("no vector ends as %q", want)
		}
	}
}

// TestSealAgrees opens what Seal made without this package: Seal and Open could be wrong in the same way.
func TestSealAgrees(t *testing.T) {
	for _, v := range readVectors(t) {
		if v.Want != "ok" {
			continue
		}
		key, err := envelope.NewKey(v.KeyID, v.Key)
		if err != nil {
			t.Fatal(err)
		}
		p := v.Place.place()
		sealed, err := key.Seal(nil, nil, &p, v.Pad, v.Plaintext)
		if err != nil {
			t.Fatal(err)
		}
		padded := decompose(t, v.Key, v.KeyID, p, sealed)
		if want := iso(string(v.Plaintext), v.Pad); !bytes.Equal(padded, want) {
			t.Errorf("%s: sealed %x, want %x", v.Name, padded, want)
		}
	}
}
