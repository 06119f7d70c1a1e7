package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"slices"
)

// KeySize is the size of a data key in bytes: AES-256.
const KeySize = 32

// MaxSeals is how many values one data key may seal at most: NIST SP 800-38D, section 8.3, for random nonces of 96
// bits, which keeps the chance that any nonce repeats under 2^-32. A repeated nonce gives away the XOR of two texts
// and the authentication key. [Key] does not count.
const MaxSeals = 1 << 32

// ErrAuthentication reports a value that does not open in the place stated. AES-GCM cannot say which of the causes
// it was.
var ErrAuthentication = errors.New("value was altered, or moved from another row, field, table, subject or day, " +
	"or its data key is the wrong one")

// Key is a data key, expanded for use. It is safe for concurrent use, and prints as [redacted].
//
// The AES key schedule it holds cannot be zeroed: it lasts until the garbage collector reuses its memory.
type Key struct {
	id   uint32
	aead func() cipher.AEAD // A function, because fmt cannot look into one: see Format.
}

// NewKey expands the data key of the given id. It returns [ErrKeyID] for an id outside 1 … MaxKeyID, and an error
// if key is not KeySize bytes. It keeps no reference to key, which the caller should zero.
func NewKey(id uint32, key []byte) (*Key, error) {
	if err := checkKeyID(id); err != nil {
		return nil, fmt.Errorf("expanding data key: %w", err)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("expanding data key %d: it has %d bytes, not %d", id, len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("expanding data key %d: %w", id, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("expanding data key %d: %w", id, err)
	}
	return &Key{id: id, aead: func() cipher.AEAD { return aead }}, nil
}

// ID is the data key's id, 1 … MaxKeyID.
func (k *Key) ID() uint32 { return k.id }

// Scratch holds the buffer that a Seal or Open needs besides its result, so that the next need not allocate it. The
// zero value is ready; nil allocates afresh each time. It is not for concurrent use, and holds no protected value.
type Scratch struct {
	ad []byte
}

func (s *Scratch) associatedData(p *Place, keyID uint32) []byte {
	if s == nil {
		return AppendAssociatedData(nil, p, keyID)
	}
	s.ad = AppendAssociatedData(s.ad[:0], p, keyID)
	return s.ad
}

// Seal appends plaintext, sealed for place p in a field with the given pad, to dst: [SealedSize] bytes. It does not
// allocate if dst has room and s is not nil. plaintext may lie in dst's spare capacity, and is then overwritten.
//
// It returns dst as it was and [ErrPlace], or an error for a pad outside 1 … MaxPad.
func (k *Key) Seal(dst []byte, s *Scratch, p *Place, pad int, plaintext []byte) ([]byte, error) {
	if err := checkPad(pad); err != nil {
		return dst, fmt.Errorf("sealing value: %w", err)
	}
	if err := p.check(); err != nil {
		return dst, fmt.Errorf("sealing value: %w", err)
	}
	ad := s.associatedData(p, k.id)

	// The text is padded where the box will stand, and encrypted over itself: no copy of it remains. It is copied
	// before the header is written, which may overwrite plaintext.
	dst = slices.Grow(dst, SealedSize(len(plaintext), pad))
	begin := len(dst) + headerSize
	text := dst[begin : begin+paddedSize(len(plaintext), pad)]
	putPadding(text[copy(text, plaintext):])
	return k.aead().Seal(appendHeader(dst, k.id), nil, text, ad), nil
}

// Open appends the plaintext of a sealed value, found in place p and a field with the given pad, to dst. It does
// not allocate if dst has room for the padded text and s is not nil. dst must not overlap sealed.
//
// It returns dst as it was and, wrapped, what [Parse] returns; [ErrKeyID] if the value names another key than this
// one; [ErrAuthentication]; or [ErrPadding]. Nothing unauthenticated is left in dst's spare capacity.
func (k *Key) Open(dst []byte, s *Scratch, p *Place, pad int, sealed []byte) ([]byte, error) {
	v, err := parse(sealed, pad)
	if err != nil {
		return dst, fmt.Errorf("opening sealed value: %w", err)
	}
	if v.KeyID != k.id {
		return dst, fmt.Errorf("opening sealed value of data key %d with data key %d: %w", v.KeyID, k.id, ErrKeyID)
	}
	out, err := k.openBox(dst, v.Box, s.associatedData(p, k.id))
	if err != nil {
		return dst, fmt.Errorf("opening sealed value: %w", err)
	}
	padded := out[len(dst):]
	text, err := unpad(padded, pad)
	if err != nil {
		clear(padded)
		return dst, fmt.Errorf("opening sealed value: %w", err)
	}
	return out[:len(dst)+len(text)], nil
}

// openBox appends the padded text in box, nonce ‖ ciphertext ‖ tag, to dst.
func (k *Key) openBox(dst, box, ad []byte) ([]byte, error) {
	out, err := k.aead().Open(dst, nil, box, ad)
	if err != nil {
		return nil, ErrAuthentication
	}
	return out, nil
}
