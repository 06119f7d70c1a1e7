package blindindex

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

// TestWycheproofHMAC runs all vectors through the HMAC of a hasher, twice, since a hasher reuses it.
func TestWycheproofHMAC(t *testing.T) {
	var file struct {
		TestGroups []struct {
			TagSize int
			Tests   []struct {
				TcID          int
				Key, Msg, Tag hexString
				Result        string
			}
		}
	}
	text, err := fs.ReadFile(wycheproof.TestVectors, "hmac_sha256_test.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, group := range file.TestGroups {
		for _, tt := range group.Tests {
			if fips140.Enforced() && len(tt.Key) < 14 {
				continue
			}
			ran++
			mac := newMAC(tt.Key)
			for range 2 {
				got := appendMAC(nil, mac, tt.Msg)[:group.TagSize/8]
				if valid := tt.Result == "valid"; valid != bytes.Equal(got, tt.Tag) {
					t.Errorf("vector %d is %s: HMAC = %x, tag %x", tt.TcID, tt.Result, got, tt.Tag)
				}
			}
		}
	}
	if ran < 150 {
		t.Errorf("only %d vectors ran", ran)
	}
}
