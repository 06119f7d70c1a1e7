package recover

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// Client speaks to the vault as one person, the login of its database connections.
type Client struct {
	Vault   *keys.Vault // the KEK is needed to open and to ask by value, for nothing else
	Dataset *dataset.Dataset
	// SourceIdentity is what this client says of its surroundings, such as user@host. It is logged as said: the database
	// believes session_user alone.
	SourceIdentity string
}

// ErrIntegrity reports a row that is not as it was stored. What is wrong is beside it; the value is not.
var ErrIntegrity = errors.New("the row is not as it was stored")

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
