package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	recovery "cloakroom/recover"
	"cloakroom/recover/auditlog"
)

// Exit codes of every program.
const (
	ExitDone       = 0
	ExitOther      = 1
	ExitUnfinished = 2
	ExitNotYours   = 3
	ExitNotLogged  = 4
	ExitIntegrity  = 5
	ExitKey        = 6
	ExitLogInvalid = 7
	ExitDatabase   = 8
)

// ExitCodes says what each exit code means, and what to do about it, by code.
var ExitCodes = [...]struct{ Meaning, Do string }{
	ExitDone:  {"done", ""},
	ExitOther: {"usage, settings, or anything else", "read the message: it says what to do"},
	ExitUnfinished: {
		"not finished: run it again",
		"it was stopped, another process holds messages, or a lock or an old transaction was in the way. Nothing is " +
			"lost or stored twice",
	},
	ExitNotYours: {
		"not approved, or not yours to do",
		"ask for approval, or for the role. A request that was denied or has expired is made again. A new index that " +
			"gives away too much is taken out of its dataset, or accepted with a reason",
	},
	ExitNotLogged: {
		"the audit log is unavailable",
		"nothing was shown. It cannot be written, is not flushed, or no checkpoint covers the intent yet: look at " +
			"Postgres and at the witness",
	},
	ExitIntegrity: {
		"something does not open, or is not as it was stored",
		"nothing of it was shown. Do not repeat it: run keys verify --all, compare with a backup, tell security",
	},
	ExitKey: {
		"a key or the KMS is unavailable",
		"the message names the KMS call to allow, or the key to enable or to configure",
	},
	ExitLogInvalid: {"the audit log does not verify", "tell security, and keep everything as it is"},
	ExitDatabase: {
		"the database is unavailable",
		"nothing was shown. Run it again when the database is back. The daemon waits by itself; ingest with --once " +
			"or --from waits for --max-outage first",
	},
}

// exitCodesHelp lists them for a help text.
func exitCodesHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:")
	for code, c := range ExitCodes {
		fmt.Fprintf(&b, "\n  %d  %s", code, c.Meaning)
	}
	return b.String()
}

// ExitError carries an exit code. Without an error it prints nothing: the command has said it
// already.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Exit makes an error with an exit code of its own.
func Exit(code int, err error) error { return &ExitError{Code: code, Err: err} }

// exitsBySentinel are the errors of libraries that decide the exit code, in order: the first that
// an error wraps counts.
var exitsBySentinel = []struct {
	err  error
	code int
}{
	{auditlog.ErrInvalid, ExitLogInvalid},
	{keys.ErrNoKey, ExitKey},
	{recovery.ErrIntegrity, ExitIntegrity},
	{keys.ErrQuarantined, ExitIntegrity},
	{keys.ErrGivesAway, ExitNotYours},
	{keys.ErrUnfinished, ExitUnfinished},
	{context.Canceled, ExitUnfinished},
}

// exitsBySQLState are the SQLSTATEs that decide it.
var exitsBySQLState = map[string]int{
	pg.NotApproved:      ExitNotYours,
	"42501":             ExitNotYours, // insufficient_privilege
	pg.AuditUnavailable: ExitNotLogged,
	pg.NotLoggedYet:     ExitNotLogged,
	pg.UnknownKEK:       ExitKey,
}

// ExitCode sorts an error into an exit code. Libraries know nothing of exit codes: they return
// errors that can be told apart, and this is the one place where those become codes.
func ExitCode(err error) int {
	if err == nil {
		return ExitDone
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	if kek.IsUnavailable(err) {
		return ExitKey
	}
	for _, s := range exitsBySentinel {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	if code, ok := exitsBySQLState[pg.Code(err)]; ok {
		return code
	}
	if _, isData := keys.DataProblem(err); isData {
		return ExitIntegrity
	}
	// An address that cannot be listened on is a setting, although it is a network error.
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "listen" {
		return ExitOther
	}
	if pg.IsUnavailable(err) {
		return ExitDatabase
	}
	return ExitOther
}
