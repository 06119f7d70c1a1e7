package blindindex_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// composeToken makes the token of a normalised value from HMAC alone, as docs/format.md describes it, without a line
// of this package: also HKDF is done by hand (RFC 5869, section 2).
func composeToken(indexKey []byte, dataset, field, transform string, version uint32, normal string) string {
	var info []byte
	for _, f := range []string{dataset, field, transform, string(binary.BigEndian.AppendUint32(nil, version))} {
		info = binary.BigEndian.AppendUint32(info, uint32(len(f)))
		info = append(info, f...)
	}
	extracted := hmacSHA256(make([]byte, sha256.Size), indexKey)
	subkey := hmacSHA256(extracted, slices.Concat(info, []byte{1}))
	return base64.RawURLEncoding.EncodeToString(hmacSHA256(subkey, []byte(normal))[:16])
}

func hmacSHA256(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}
