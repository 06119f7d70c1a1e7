package recover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/recover/auditlog"
)

// Client speaks to the vault as one person, the login of its database connections.
type Client struct {
	Vault   *keys.Vault // the KEK is needed to open and to ask by value, for nothing else
	Dataset *dataset.Dataset
	// SourceIdentity is what this client says of its surroundings, such as user@host. It is logged as said: the database
	// believes session_user alone.
	SourceIdentity string
}

// Exit codes of the program recover.
const (
	ExitOther       = 1 // usage, or anything else
	ExitNotApproved = 3 // not approved, or not this person's to do
	ExitNotLogged   = 4 // the audit log is unavailable
	ExitIntegrity   = 5 // something does not open or is not what it should be; nothing was shown
	ExitKey         = 6 // a key or the KEK is unavailable
	ExitLogInvalid  = 7 // the audit log does not verify
)

// ErrIntegrity reports a row that is not as it was stored. What is wrong is beside it; the value is not.
var ErrIntegrity = errors.New("the row is not as it was stored")

// ExitCode sorts an error into an exit code.
func ExitCode(err error) int {
	switch pg.Code(err) {
	case pg.NotApproved, "42501":
		return ExitNotApproved
	case pg.AuditUnavailable, pg.NotLoggedYet:
		return ExitNotLogged
	}
	var file *fs.PathError // which passes for a net.Error
	switch {
	case errors.As(err, &file):
		return ExitOther
	case errors.Is(err, auditlog.ErrInvalid):
		return ExitLogInvalid
	case errors.Is(err, keys.ErrNoKey):
		return ExitKey
	case errors.Is(err, ErrIntegrity):
		return ExitIntegrity
	}
	switch keys.ExitCode(err) {
	case keys.ExitIntegrity:
		return ExitIntegrity
	case keys.ExitKey:
		return ExitKey
	case keys.ExitUnavailable:
		return ExitNotLogged // the log is in the database
	}
	return ExitOther
}

// noteRefusal logs an attempt that the database refused: with the refusal its transaction was rolled back. It is as good as
// the client; the database refuses in any case.
func (c *Client) noteRefusal(ctx context.Context, id uuid.UUID, what string, refused error) {
	if code := pg.Code(refused); code != pg.NotApproved && code != "42501" {
		return
	}
	// Best effort: a login without any of the roles may not even log.
	_, _ = c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.note_refusal($1, $2, $3)`, id, what+" refused", c.identity())
}

func (c *Client) identity() any {
	if c.SourceIdentity == "" {
		return nil
	}
	return c.SourceIdentity
}

// doing wraps a database error with what was attempted.
func doing(what string, err error) error {
	return fmt.Errorf("%s: %w", what, pg.Redact(err))
}
