package blindindex

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"cloakroom/crypto/envelope"
)

// KeySize is the size of an index key, and of a subkey, in bytes.
const KeySize = 32

// ErrDestroyed reports a subkey used after its Destroy.
var ErrDestroyed = errors.New("subkey is destroyed")

// Subkey makes the tokens of one field under one version of the index key. It is safe for concurrent use, and prints
// as [redacted].
type Subkey struct {
	state func() *subkeyState // A function, because fmt cannot look into one: see Format.
}

type subkeyState struct {
	pipeline pipeline

	mu        sync.Mutex // guards key
	key       [KeySize]byte
	destroyed atomic.Bool
}

// Derive derives the subkey of a dataset's field: HKDF-SHA256 of the index key without salt, with the info E of
// dataset, field, transform and version, 32 bytes. It keeps no reference to indexKey.
//
// It returns [ErrTransform], or an error if indexKey is not KeySize bytes, dataset or field is empty, or version is 0.
func Derive(indexKey []byte, dataset, field string, t Transform, version uint32) (*Subkey, error) {
	if len(indexKey) != KeySize {
		return nil, fmt.Errorf("deriving subkey: the index key has %d bytes, not %d", len(indexKey), KeySize)
	}
	if dataset == "" || field == "" || version == 0 {
		return nil, errors.New("deriving subkey: dataset, field and version are needed")
	}
	steps, ok := parse(t)
	if !ok {
		return nil, fmt.Errorf("deriving subkey: transform %q: %w", t, ErrTransform)
	}
	info := envelope.AppendUint32(envelope.AppendFields(nil, dataset, field, string(t)), version)
	key, err := envelope.Derive(indexKey, info, KeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving subkey: %w", err)
	}
	defer clear(key)
	state := &subkeyState{pipeline: steps, key: [KeySize]byte(key)}
	return &Subkey{state: func() *subkeyState { return state }}, nil
}

// Token returns the token of value. It sets up an HMAC each time: for many tokens use a [Hasher]. It returns what
// [Transform.Normalise] does, and [ErrDestroyed].
func (s *Subkey) Token(value string) (string, error) {
	token, err := s.NewHasher().AppendToken(nil, value)
	if err != nil {
		return "", err
	}
	return string(token), nil
}

// Destroy zeroes the subkey. From then on it makes no token, nor do its hashers. The HMAC states inside those cannot be
// zeroed: they last until the garbage collector reuses their memory.
func (s *Subkey) Destroy() {
	state := s.state()
	state.mu.Lock()
	defer state.mu.Unlock()
	state.destroyed.Store(true)
	clear(state.key[:])
}
