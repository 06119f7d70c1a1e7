package blindindex_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"unicode/utf8"

	"cloakroom/crypto/blindindex"
)

var update = flag.Bool("update", false, "write testdata again; the format is frozen, so nothing should change")

const vectorsFile = "testdata/vectors.json"

// vector is a value and its token. In JSON the value is text, or hex where it is not UTF-8.
type vector struct {
	Name      string               `json:"name"`
	IndexKey  hexBytes             `json:"index_key"`
	Dataset   string               `json:"dataset"`
	Field     string               `json:"field"`
	Transform blindindex.Transform `json:"transform"`
	Version   uint32               `json:"version"`
	Value     string               `json:"value"`
	ValueHex  hexBytes             `json:"value_hex,omitempty"`
	Want      string               `json:"want"` // a key of wantErrors
	Normal    string               `json:"normal,omitempty"`
	Token     string               `json:"token,omitempty"`
}

func (v vector) value() string {
	if v.ValueHex != nil {
		return string(v.ValueHex)
	}
	return v.Value
}

// MarshalJSON moves a value that JSON cannot hold into ValueHex.
func (v vector) MarshalJSON() ([]byte, error) {
	type plain vector
	if !utf8.ValidString(v.Value) {
		v.Value, v.ValueHex = "", hexBytes(v.Value)
	}
	return json.Marshal(plain(v))
}

// UnmarshalJSON is the reverse.
func (v *vector) UnmarshalJSON(text []byte) error {
	type plain vector
	if err := json.Unmarshal(text, (*plain)(v)); err != nil {
		return err
	}
	v.Value, v.ValueHex = v.value(), nil
	return nil
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

var wantErrors = map[string]error{
	"ok":      nil,
	"empty":   blindindex.ErrEmpty,
	"utf8":    blindindex.ErrUTF8,
	"address": blindindex.ErrAddress,
	"part":    blindindex.ErrPart,
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
			normal, err := v.Transform.Normalise(v.Value)
			if !errors.Is(err, want) || normal != v.Normal {
				t.Errorf("Normalise = %+q, %v; want %+q, %v", normal, err, v.Normal, want)
			}
			subkey, err := blindindex.Derive(v.IndexKey, v.Dataset, v.Field, v.Transform, v.Version)
			if err != nil {
				t.Fatal(err)
			}
			token, err := subkey.Token(v.Value)
			if !errors.Is(err, want) || token != v.Token {
				t.Errorf("Token = %q, %v; want %q, %v", token, err, v.Token, want)
			}
			appended, err := subkey.NewHasher().AppendToken([]byte("before"), v.Value)
			if !errors.Is(err, want) || string(appended) != "before"+v.Token {
				t.Errorf("AppendToken = %q, %v; want %q after before, %v", appended, err, v.Token, want)
			}
		})
	}
	for want := range wantErrors {
		if seen[want] == 0 {
			t.Errorf("no vector ends as %q", want)
		}
	}
}

// TestVectorsAreApart finds no token twice, except where the normal forms are to meet.
func TestVectorsAreApart(t *testing.T) {
	seen := map[string]vector{}
	for _, v := range readVectors(t) {
		twin, taken := seen[v.Token]
		if v.Want == "ok" && taken && (twin.Normal != v.Normal || twin.Transform != v.Transform) {
			t.Errorf("%s has the token of %s", v.Name, twin.Name)
		}
		seen[v.Token] = v
	}
}
