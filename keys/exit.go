package keys

import (
	"errors"

	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// Exit codes of the programs keys and ingest.
const (
	ExitOther       = 1 // usage, or anything else
	ExitUnfinished  = 2 // not finished: run again
	ExitIntegrity   = 5 // something does not open, or is not what it should be
	ExitKey         = 6 // a key or the KEK is unavailable
	ExitUnavailable = 8 // the database is unavailable
)

// Errors of the rotation job that have an exit code of their own.
var (
	// ErrUnfinished: what was done is kept; run it again.
	ErrUnfinished = errors.New("not finished")
	// ErrQuarantined: rows do not open, so the key or the column they need stays.
	ErrQuarantined = errors.New("they do not open and are quarantined: compare them with a backup (docs/rotation.md)")
)

// ExitCode sorts an error into an exit code.
func ExitCode(err error) int {
	for _, e := range []error{kek.ErrUnavailable, kek.ErrDenied, kek.ErrDisabled, kek.ErrNotConfigured} {
		if errors.Is(err, e) {
			return ExitKey
		}
	}
	if _, isData := Blame(err); isData || errors.Is(err, ErrQuarantined) {
		return ExitIntegrity
	}
	if errors.Is(err, ErrUnfinished) {
		return ExitUnfinished
	}
	if pg.IsUnavailable(err) {
		return ExitUnavailable
	}
	return ExitOther
}
