package keys

import (
	"errors"

	"cloakroom/crypto/envelope"
	"cloakroom/keys/kek"
)

// Errors that callers act on. Each is wrapped with what was attempted.
var (
	// ErrKeyCheck: the key that was unwrapped is not the one that the vault registered.
	ErrKeyCheck = errors.New("the unwrapped key does not match its key check: the vault's row is damaged, or " +
		"belongs to another key")
	// ErrNoKey: the vault does not have the data key, or its wrapped bytes are gone.
	ErrNoKey = errors.New("the vault has no such data key, or it was shredded")
	// ErrUnknownKEK: the key's row names a KEK that the vault does not know. It is not followed.
	ErrUnknownKEK = errors.New("the key's row names a KEK that the vault does not know: it was planted, or damaged")
	// ErrUnfinished: a rotation step has to be run again. What it did is kept.
	ErrUnfinished = errors.New("not finished")
	// ErrQuarantined: rows do not open, so a rotation step keeps the key or the column that they
	// need.
	ErrQuarantined = errors.New("they do not open and are quarantined: compare them with a backup (docs/rotation.md)")
)

// DataProblem tells damage from an outage. If the data itself is at fault (a key that is wrong or
// gone, a sealed value that does not open), isData is true and problem names the fault without any
// value: report it and go on with other rows.
func DataProblem(err error) (problem string, isData bool) {
	for _, e := range []error{ErrNoKey, ErrKeyCheck, ErrUnknownKEK, kek.ErrUnwrap} {
		if errors.Is(err, e) {
			return e.Error(), true
		}
	}
	if e := envelope.IntegrityError(err); e != nil {
		return e.Error(), true
	}
	return "", false
}
