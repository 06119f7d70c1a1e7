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
	state func() *hasherState // A function, because fmt cannot look into one: see Format.
}

type hasherState struct {
	subkey *subkeyState
	mac    hash.Hash // nil if the subkey was destroyed before
	normal []byte    // room for a normalised value; zero between calls
	sum    []byte
}

// NewHasher returns a hasher of the subkey. If the subkey is destroyed, the hasher returns [ErrDestroyed].
func (s *Subkey) NewHasher() *Hasher {
	subkey := s.state()
	h := &hasherState{subkey: subkey, sum: make([]byte, 0, sha256.Size)}
	subkey.mu.Lock()
	defer subkey.mu.Unlock()
	if !subkey.destroyed.Load() {
		h.mac = newMAC(subkey.key[:])
	}
	return &Hasher{state: func() *hasherState { return h }}
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
	state := h.state()
	if state.mac == nil || state.subkey.destroyed.Load() {
		return dst, fmt.Errorf("making token: %w", ErrDestroyed)
	}
	normal, err := state.subkey.pipeline.appendNormal(state.normal[:0], value)
	if err != nil {
		return dst, fmt.Errorf("making token: %w", err)
	}
	state.normal = normal[:0]
	state.sum = appendMAC(state.sum[:0], state.mac, normal)
	clear(normal)
	return base64.RawURLEncoding.AppendEncode(dst, state.sum[:tokenSize]), nil
}

// appendMAC appends the HMAC of message, 32 bytes, to dst.
func appendMAC(dst []byte, mac hash.Hash, message []byte) []byte {
	mac.Reset()
	mac.Write(message)
	return mac.Sum(dst)
}
