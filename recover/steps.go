package recover

import (
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/pg"
)

// The steps of an opening. Each is a transaction of its own: the database refuses them in one.

// begin is T1: the intent is in the log, the rows are frozen, nothing is handed out.
func (c *Client) begin(ctx context.Context, id uuid.UUID) (rows, leaf int64, err error) {
	err = c.Vault.DB.QueryRowContext(ctx, `SELECT rows, leaf FROM cloakroom.begin_opening($1, $2)`, id, c.identity()).Scan(&rows, &leaf)
	if err != nil {
		c.noteRefusal(ctx, id, "open", err)
		return 0, 0, doing("logging the intent", err)
	}
	return rows, leaf, nil
}

// confirm is T2: the intent is committed.
func (c *Client) confirm(ctx context.Context, id uuid.UUID) error {
	if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.confirm_opening($1)`, id); err != nil {
		return doing("confirming the intent", err)
	}
	return nil
}

// handOut is T3: once the intent is on disk, and under a checkpoint where the policy wants one, it begins to stream the
// frozen rows and their wrapped keys. It tries for as long as wait while the database says "not yet".
func (c *Client) handOut(ctx context.Context, id uuid.UUID, wait time.Duration) (*sql.Rows, error) {
	pause := 10 * time.Millisecond
	for deadline := time.Now().Add(wait); ; pause = min(2*pause, time.Second) {
		rows, err := c.Vault.DB.QueryContext(ctx, `SELECT * FROM cloakroom.hand_out($1)`, id)
		switch {
		case err == nil:
			return rows, nil
		case pg.Code(err) != pg.NotLoggedYet || time.Now().Add(pause).After(deadline):
			return nil, doing("taking the rows", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// closeTimeout bounds the last step; it runs even if the caller was told to stop.
const closeTimeout = 20 * time.Second

// close is T4: the outcome is in the log. Only after it may anything be shown.
func (c *Client) close(ctx context.Context, id uuid.UUID, rows int64, result string) (leaf int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err = c.Vault.DB.GetContext(ctx, &leaf, `SELECT cloakroom.close_opening($1, $2, $3, $4)`, id, rows, result, c.identity())
	if err != nil {
		return 0, doing("logging the outcome", err)
	}
	return leaf, nil
}
