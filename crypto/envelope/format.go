package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The parts of a sealed value, version 1, in bytes.
const (
	version1   = 0x01
	headerSize = 1 + 4 // version, data-key id
	nonceSize  = 12
	tagSize    = 16
)

// PrefixSize is how many bytes of a sealed value tell it from every other: version, data-key id and nonce.
const PrefixSize = headerSize + nonceSize

// MaxKeyID is the greatest data-key id, so that an id fits Postgres' integer. The least is 1.
const MaxKeyID = 1<<31 - 1

// What a parser finds wrong with a sealed value. Each is distinct, so that an operator can tell damage from a newer
// program's data.
var (
	// ErrVersion reports a first byte that is not 0x01.
	ErrVersion = errors.New("unknown version of sealed value")
	// ErrShort reports fewer bytes than the shortest value of this pad has.
	ErrShort = errors.New("sealed value is too short")
	// ErrTrailing reports a ciphertext that is no multiple of the pad.
	ErrTrailing = errors.New("sealed value has trailing or missing bytes")
	// ErrKeyID reports a data-key id outside 1 … MaxKeyID or, from Open, another key's id.
	ErrKeyID = errors.New("wrong data-key id")
)

// IntegrityError returns the error of this package that says why a sealed value is not what was sealed there; nil if err
// is of another kind.
func IntegrityError(err error) error {
	for _, e := range []error{ErrAuthentication, ErrVersion, ErrShort, ErrTrailing, ErrKeyID, ErrPadding} {
		if errors.Is(err, e) {
			return e
		}
	}
	return nil
}

// Value is a parsed sealed value, not yet opened.
type Value struct {
	KeyID uint32 // the data key that opens it, 1 … MaxKeyID
	Box   []byte // nonce ‖ ciphertext ‖ tag: 28 bytes more than the padded text
}

// Parse reads a sealed value whose field has the given pad. The result's Box is a part of sealed, not a copy.
//
// It returns [ErrVersion], [ErrShort], [ErrTrailing] or [ErrKeyID], wrapped. Bytes added or cut in whole multiples
// of pad have the right shape and are left to Open, which returns [ErrAuthentication]; with a pad of 1 that is any
// number of bytes.
func Parse(sealed []byte, pad int) (Value, error) {
	v, err := parse(sealed, pad)
	if err != nil {
		return Value{}, fmt.Errorf("parsing sealed value: %w", err)
	}
	return v, nil
}

func parse(sealed []byte, pad int) (Value, error) {
	if err := checkPad(pad); err != nil {
		return Value{}, err
	}
	if len(sealed) == 0 {
		return Value{}, ErrShort
	}
	if sealed[0] != version1 {
		return Value{}, ErrVersion
	}
	if len(sealed) < SealedSize(0, pad) {
		return Value{}, ErrShort
	}
	if (len(sealed)-SealedSize(0, pad))%pad != 0 {
		return Value{}, ErrTrailing
	}
	v := Value{KeyID: binary.BigEndian.Uint32(sealed[1:headerSize]), Box: sealed[headerSize:]}
	return v, checkKeyID(v.KeyID)
}

// Append appends v as Parse reads it to dst.
func (v Value) Append(dst []byte) []byte {
	return append(appendHeader(dst, v.KeyID), v.Box...)
}

func appendHeader(dst []byte, keyID uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, version1), keyID)
}

// SealedSize is the size in bytes of a sealed value whose text has n bytes, in a field with the given pad.
func SealedSize(n, pad int) int {
	return headerSize + nonceSize + paddedSize(n, pad) + tagSize
}

func checkKeyID(id uint32) error {
	if id < 1 || id > MaxKeyID {
		return ErrKeyID
	}
	return nil
}
