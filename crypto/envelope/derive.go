package envelope

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// CheckSize is the size of a key check in bytes.
const CheckSize = 16

// checkDomain is the first field of a key check's info.
const checkDomain = domain + "/check"

// Derive returns size bytes of HKDF-SHA256 (RFC 5869) of key, without salt. info is in encoding E, so that no two
// purposes share it. It fails if size exceeds 255 · 32, or under GODEBUG=fips140=only if key is shorter than 14
// bytes.
//
// RFC 5869 allows to leave out the salt where the key is uniformly random already, as every key of a vault is.
func Derive(key, info []byte, size int) ([]byte, error) {
	out, err := hkdf.Key(sha256.New, key, nil, string(info), size)
	if err != nil {
		return nil, fmt.Errorf("deriving %d bytes: %w", size, err)
	}
	return out, nil
}

// Check returns the key check of the data key or index key with the given id: 16 bytes of [Derive] with the info E of
// "cloakroom/v1/check" and the id. It is stored beside the wrapped key, tells a wrong or damaged key from the right
// one, and is no secret: it gives nothing of the key away.
//
// A key that is not KeySize bytes, which [NewKey] refuses, has the check 0.
func Check(key []byte, id uint32) [CheckSize]byte {
	if len(key) != KeySize {
		return [CheckSize]byte{}
	}
	check, err := Derive(key, AppendUint32(AppendFields(nil, checkDomain), id), CheckSize)
	if err != nil {
		panic(err) // Impossible: key and size are within HKDF's limits.
	}
	return [CheckSize]byte(check)
}
