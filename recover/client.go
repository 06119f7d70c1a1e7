package recover

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// Client acts as one person: the login of its database connections.
type Client struct {
	Vault *keys.Vault // its KEK is used to open and to request by value, and for nothing else
	// SourceIdentity is what this client says about where it runs, such as user@host. The log keeps
	// it as a claim; the database trusts only session_user.
	SourceIdentity string
}

// permissionDenied is the SQLSTATE of a login that lacks the role.
const permissionDenied = "42501"

// identity is SourceIdentity as a query's parameter.
func (c *Client) identity() any { return orNull(c.SourceIdentity) }

// noteRefusal logs an attempt that the database refused, because the refusal rolled its own
// transaction back. A client can skip this; the database refuses anyway.
func (c *Client) noteRefusal(ctx context.Context, id uuid.UUID, what string, refused error) {
	if code := pg.Code(refused); code != pg.NotApproved && code != permissionDenied {
		return
	}
	// Best effort: a login without any of the roles may not log either.
	_, _ = c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.note_refusal($1, $2, $3)`, id, what+" refused", c.identity())
}

// dataset reads a dataset's definition from the vault. An empty name means the only one.
func (c *Client) dataset(ctx context.Context, name string) (*dataset.Dataset, error) {
	list, err := c.Vault.Datasets(ctx)
	if err != nil {
		return nil, err
	}
	return list.Find(name)
}

// indexKeys reads the vault's settings and unwraps its index keys for the indexes of a dataset, for
// keys.DestroyIndexKeys.
func (c *Client) indexKeys(ctx context.Context, d *dataset.Dataset) (keys.Settings, []keys.IndexKey, error) {
	s, err := c.Vault.Settings(ctx)
	if err != nil {
		return s, nil, err
	}
	index, err := c.Vault.IndexKeys(ctx, s, d)
	return s, index, err
}

// Roles that a login needs, for hints.
const (
	auditor    = "auditor"
	approver   = "approver"
	breakglass = "breakglass"
	anyRole    = "auditor or approver"
)

// dbError adds what was attempted to a database error, and removes what may quote a row. If the
// login may not do it, the hint names the role that may.
func dbError(doing, role string, err error) error {
	return fmt.Errorf("%s: %w", doing, pg.RedactFor(role, err))
}

// failureResult is what the log says of a failure.
func failureResult(failure error) string {
	_, damaged := keys.DataProblem(failure)
	code := pg.Code(failure)
	switch {
	case errors.Is(failure, context.Canceled):
		return "failed: interrupted"
	case errors.Is(failure, keys.ErrNoKey) || kek.IsUnavailable(failure):
		return "failed: key unavailable"
	case errors.Is(failure, ErrIntegrity) || damaged:
		return "failed: integrity"
	case pg.IsUnavailable(failure) || code == pg.AuditUnavailable || code == pg.NotLoggedYet:
		return "failed: database"
	}
	return "failed: other"
}
