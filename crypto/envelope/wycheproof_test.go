package envelope

import (
	"bytes"
	"crypto/fips140"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// hexString is bytes, in JSON in hex.
type hexString []byte

func (h *hexString) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// readWycheproof reads the named file of Project Wycheproof's vectors into file.
func readWycheproof(t *testing.T, name string, file any) {
	t.Helper()
	text, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, file); err != nil {
		t.Fatal(err)
	}
}

// TestWycheproofGCM opens every vector of our shape: 256-bit key, 96-bit nonce, 128-bit tag.
func TestWycheproofGCM(t *testing.T) {
	var file struct {
		TestGroups []struct {
			IVSize, KeySize, TagSize int
			Tests                    []struct {
				TcID                       int
				Key, IV, AAD, Msg, CT, Tag hexString
				Result                     string
			}
		}
	}
	readWycheproof(t, "aes_gcm_test.json", &file)
	ran := 0
	for _, group := range file.TestGroups {
		if group.KeySize != 8*KeySize || group.IVSize != 8*nonceSize || group.TagSize != 8*tagSize {
			continue
		}
		for _, tt := range group.Tests {
			ran++
			key, err := NewKey(1, tt.Key)
			if err != nil {
				t.Fatal(err)
			}
			box := bytes.Join([][]byte{tt.IV, tt.CT, tt.Tag}, nil)
			got, err := key.openBox(nil, box, tt.AAD)
			if valid := tt.Result == "valid"; valid != (err == nil) || valid && !bytes.Equal(got, tt.Msg) {
				t.Errorf("vector %d is %s: openBox = %x, %v", tt.TcID, tt.Result, got, err)
			}
		}
	}
	if ran < 60 {
		t.Errorf("only %d vectors ran", ran)
	}
}

// TestWycheproofHKDF runs the vectors without salt, the only ones of our shape.
func TestWycheproofHKDF(t *testing.T) {
	var file struct {
		TestGroups []struct {
			Tests []struct {
				TcID                 int
				IKM, Salt, Info, OKM hexString
				Size                 int
				Result               string
			}
		}
	}
	readWycheproof(t, "hkdf_sha256_test.json", &file)
	ran := 0
	for _, group := range file.TestGroups {
		for _, tt := range group.Tests {
			if len(tt.Salt) > 0 || fips140.Enforced() && len(tt.IKM) < 14 {
				continue
			}
			ran++
			got, err := Derive(tt.IKM, tt.Info, tt.Size)
			if valid := tt.Result == "valid"; valid != (err == nil) || valid && !bytes.Equal(got, tt.OKM) {
				t.Errorf("vector %d is %s: Derive = %x, %v", tt.TcID, tt.Result, got, err)
			}
		}
	}
	if ran < 20 {
		t.Errorf("only %d vectors ran", ran)
	}
}
