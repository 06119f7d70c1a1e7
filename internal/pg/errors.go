package pg

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"

	"github.com/lib/pq"
)

// SQLSTATEs that cloakroom's own functions raise.
const (
	StaleEpoch        = "CR001" // the writer's epoch or policy is not the vault's: read both, judge and write again
	UnknownDataKey    = "CR002" // a data key is not active, not of that month, or not that key
	WrongIsolation    = "CR003" // not READ COMMITTED
	UntrustedStaging  = "CR004" // the staging table is missing or not the owner's
	NotApproved       = "CR010" // a recover request is not (or no longer) approved
	AuditUnavailable  = "CR011" // the audit log cannot be written or is not flushed
	RequestRefused    = "CR012" // a recover request breaks the policy, or the actor may not
	NotAllowedByVault = "CR013" // a vault operation whose conditions do not hold
	NotLoggedYet      = "CR014" // an intent is not flushed, or no checkpoint covers it, yet: try again in a moment
	ClocksDiffer      = "CR015" // the caller's clock and the database's differ by more than five minutes
	UnknownKEK        = "CR016" // the vault takes no keys under this KEK
	TooManyKeys       = "CR017" // this login has registered as many data keys as the policy lets it in an hour
)

// Error is a database error that may be shown and logged: it quotes neither rows nor parameters.
type Error struct {
	Code       string // SQLSTATE
	Constraint string
	Table      string
	message    string // empty where the server's text may quote data
	hint       string
}

// Error names the SQLSTATE. What our own functions refuse is no fault of the database: it reads as what they say, their
// code, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	if strings.HasPrefix(e.Code, "CR") {
		b.WriteString(e.message + " (" + e.Code + ")")
		if e.hint != "" {
			b.WriteString(". " + e.hint)
		}
		return b.String()
	}
	b.WriteString("database")
	if e.message != "" {
		b.WriteString(": " + e.message)
	}
	b.WriteString(" (SQLSTATE " + e.Code)
	if e.Constraint != "" {
		b.WriteString(", constraint " + e.Constraint)
	}
	b.WriteString(")")
	if e.hint != "" {
		b.WriteString(": " + e.hint)
	}
	return b.String()
}

// RedactFor is Redact with a hint that names the role, if the login may not do this. Of several roles,
// "auditor or approver", it suggests the first.
func RedactFor(role string, err error) error {
	err = Redact(err)
	var shown *Error
	if errors.As(err, &shown) && shown.Code == "42501" {
		with := *shown
		first := strings.FieldsFunc(role, func(r rune) bool { return r == ' ' || r == ',' })[0]
		with.hint = "it needs the role " + role + ": keys grant LOGIN --role " + first
		return &with
	}
	return err
}

// Redact turns an error of lib/pq into one that may be shown. It returns other errors unchanged.
func Redact(err error) error {
	var shown *Error
	if err == nil || errors.As(err, &shown) {
		return err
	}
	var e *pq.Error
	if !errors.As(err, &e) {
		var netErr *net.OpError
		if errors.As(err, &netErr) && netErr.Op == "dial" {
			return Unreachable(err)
		}
		return err
	}
	r := &Error{Code: string(e.Code), Constraint: e.Constraint, Table: e.Table, hint: hint(e)}
	// Messages of class 22 (data exception) and 23 (integrity constraint) quote values; those of 42601 and P0001 may
	// quote text. What our own functions raise quotes nothing.
	switch class := r.Code[:min(2, len(r.Code))]; class {
	case "22", "23", "P0":
	default:
		if r.Code != "42601" {
			r.message = e.Message
		}
	}
	return r
}

func hint(e *pq.Error) string {
	switch e.Code {
	case "42501":
		return "grant the login its role (keys grant LOGIN --role ROLE), or use the login that has it"
	case "3F000", "42P01", "42883":
		return "the schema is missing or older than this program: run keys init"
	case "28P01", "28000":
		return "check the user and the password in DATABASE_URL"
	case "3D000":
		return "create the database first"
	case "53300":
		return "raise max_connections, or lower the number of clients"
	case "53100":
		return "free disk space on the database server"
	}
	if strings.HasPrefix(string(e.Code), "CR") {
		return e.Hint
	}
	return ""
}

// Code is the SQLSTATE of a database error, or empty.
func Code(err error) string {
	var e *pq.Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	var r *Error
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// IsDataError reports an error that one row of a batch may have caused: class 22 (data exception), 23502 (not
// null), 23514 (check violation) and 54000 (an index entry that is too large). Everything else, 23505 and 23503
// included, is not a row's fault or is worth a retry.
func IsDataError(err error) bool {
	code := Code(err)
	return strings.HasPrefix(code, "22") || code == "23502" || code == "23514" || code == "54000"
}

// IsUnavailable reports an error of the infrastructure: the connection, the server's state, its resources or its
// clock. The same statement may succeed later.
func IsUnavailable(err error) bool {
	if err == nil {
		return false
	}
	code := Code(err)
	switch {
	case code == "":
		// An errno is a net.Error too, but a file's errno is not the database's.
		var file *fs.PathError
		if errors.As(err, &file) {
			return false
		}
		var netErr net.Error
		return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, net.ErrClosed) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
			errors.Is(err, context.DeadlineExceeded)
	case code == ClocksDiffer, code == UnknownKEK, code == TooManyKeys: // somebody, or time, will mend it
		return true
	}
	switch code {
	case "57014", "55P03", "25P02", "25P03", "55006", "25006": // cancelled, lock timeout, aborted, idle, in use, read-only
		return true
	}
	switch code[:2] {
	case "08", "40", "53", "57", "58", "XX":
		return true
	}
	return false
}

// Unreachable is what a command prints when the database cannot be reached.
func Unreachable(err error) error {
	if Code(err) != "" {
		return fmt.Errorf("reaching the database: %w", Redact(err))
	}
	return fmt.Errorf("reaching the database: %w (check DATABASE_URL, that the server runs, and sslmode)", err)
}
