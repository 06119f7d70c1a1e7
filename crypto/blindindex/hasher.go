package blindindex

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
)

// Hasher makes many tokens under one subkey, reusing its buffers and the HMAC's precomputed state (FIPS 198-1,
// section 6). It is not for concurrent use: each goroutine makes its own.
type Hasher struct {
	subkey *Subkey
	mac    hash.Hash // nil if the subkey was destroyed before
	normal []byte    // room for a normalised value; zero between calls
	sum    []byte
}

// NewHasher returns a hasher of the subkey. If the subkey is destroyed, the hasher returns [ErrDestroyed].
func (s *Subkey) NewHasher() *Hasher {
	h := &Hasher{subkey: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.destroyed.Load() {
		h.mac = newMAC(s.key[:])
		h.sum = make([]byte, 0, sha256.Size)
	}
	return h
}

// newMAC returns HMAC-SHA-256 under key, with its state precomputed.
func newMAC(key []byte) hash.Hash {
	mac := hmac.New(sha256.New, key)
	mac.Reset() // crypto/hmac precomputes at the first Reset.
	return mac
}

// AppendToken appends the token of value, TokenLength bytes, to dst. It does not allocate if dst has room and
// normalising does not. On error it returns dst as it was and what [Transform.Normalise] returns, or [ErrDestroyed].
func (h *Hasher) AppendToken(dst []byte, value string) ([]byte, error) {
	if h.subkey.destroyed.Load() || h.mac == nil {
		return dst, fmt.Errorf("making token: %w", ErrDestroyed)
	}
	normal, err := h.subkey.transform.AppendNormal(h.normal[:0], value)
	if err != nil {
		return dst, fmt.Errorf("making token: %w", err)
	}
	h.normal = normal[:0]
	h.sum = appendMAC(h.sum[:0], h.mac, normal)
	clear(normal)
	return base64.RawURLEncoding.AppendEncode(dst, h.sum[:tokenSize]), nil
}

// appendMAC appends the HMAC of message, 32 bytes, to dst.
func appendMAC(dst []byte, mac hash.Hash, message []byte) []byte {
	mac.Reset()
	mac.Write(message)
	return mac.Sum(dst)
}
