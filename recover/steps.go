package recover

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/keys"
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

// handedOut is T3 at work: keys first, then rows that stream from the database. end ends its transaction.
//
// The transaction must commit whatever happens to the rows: it holds the state in which the outcome can be logged. So
// nothing that stops an opening (KMS refuses a key, a row is damaged, Ctrl-C) may cancel a statement of it: lib/pq answers
// that by dropping the connection, and the transaction with it.
type handedOut struct {
	versions []uint32 // of the tokens
	wrapped  map[uint32]keys.WrappedKey
	tx       *sqlx.Tx
}

// fetchRows is how many rows one FETCH takes. Postgres runs a FETCH to its end before it sends the first of its rows; with
// many small ones in one message it goes on while the rows are opened. fetchesPerMessage bounds what has to be read to its
// end when an opening stops in the middle: 10,000 rows.
const (
	fetchRows         = 250
	fetchesPerMessage = 40
)

// each calls f with every row: a bytea, valid until f returns. It stops where f fails.
func (h *handedOut) each(ctx context.Context, f func(row []byte) error) error {
	patient, cancel := afterStop(ctx)
	defer cancel()
	for {
		n, err := h.fetch(patient, f)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil || n < fetchRows*fetchesPerMessage {
			return err
		}
	}
}

// afterStop is a context that ends only stopTimeout after ctx was cancelled: a statement under way has that long to end
// by itself.
func afterStop(ctx context.Context) (context.Context, context.CancelFunc) {
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopTimeout, cancel) })
	return patient, func() { stop(); cancel() }
}

// fetch sends one message of FETCHes and returns how many rows came.
func (h *handedOut) fetch(ctx context.Context, f func(row []byte) error) (n int, err error) {
	rows, err := h.tx.QueryContext(ctx, strings.Repeat(fmt.Sprintf("FETCH %d FROM handed_rows;", fetchRows), fetchesPerMessage))
	if err != nil {
		return 0, doing("taking the rows", err)
	}
	defer rows.Close()
	var row sql.RawBytes
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			if err := rows.Scan(&row); err != nil {
				return n, doing("taking the rows", err)
			}
			if err := f(row); err != nil {
				return n, err
			}
			n++
		}
	}
	if err := rows.Err(); err != nil {
		return n, doing("taking the rows", err)
	}
	return n, nil
}

// end commits, whatever became of the rows: they were handed out. After a statement that failed, it first goes back to where
// they had been handed out and nothing had failed yet.
func (h *handedOut) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if _, err := h.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT handed_out`); err != nil {
		_ = h.tx.Rollback()
		return doing("taking the rows", err)
	}
	if err := h.tx.Commit(); err != nil {
		return doing("taking the rows", err)
	}
	return nil
}

// handOut is T3: once the intent is on disk, and under a checkpoint where the policy wants one, the wrapped keys and the
// frozen rows are handed out. It tries for as long as wait while the database says "not yet".
func (c *Client) handOut(ctx context.Context, id uuid.UUID, wait time.Duration) (*handedOut, error) {
	pause := 10 * time.Millisecond
	for deadline := time.Now().Add(wait); ; pause = min(2*pause, time.Second) {
		h, err := c.tryHandOut(ctx, id)
		switch {
		case err == nil:
			return h, nil
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

func (c *Client) tryHandOut(ctx context.Context, id uuid.UUID) (_ *handedOut, err error) {
	tx, err := c.Vault.DB.BeginTxx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	// The cursor's join of 100,000 rows fits in this memory. The transaction is idle while KMS makes the last openers wait.
	if _, err := tx.ExecContext(ctx, `SET LOCAL work_mem = '64MB'; SET LOCAL idle_in_transaction_session_timeout = '15min'`); err != nil {
		return nil, err
	}
	var list []struct {
		Kind string `db:"kind"` // version, key
		ID   uint32 `db:"id"`
		wrappedKey
	}
	if err := tx.SelectContext(ctx, &list, `SELECT * FROM cloakroom.hand_out($1, 'handed_rows')`, id); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `SAVEPOINT handed_out`); err != nil {
		return nil, err
	}
	h := &handedOut{wrapped: map[uint32]keys.WrappedKey{}, tx: tx}
	for _, k := range list {
		if k.Kind == "version" {
			h.versions = append(h.versions, k.ID)
		} else {
			h.wrapped[k.ID] = k.key()
		}
	}
	return h, nil
}

// wrappedKey is a wrapped key as the database gives it; all NULL beside a version.
type wrappedKey struct {
	KEK      sql.NullString `db:"kek"`
	KEKID    sql.NullString `db:"kek_id"`
	Wrapped  []byte         `db:"wrapped"`
	KeyCheck []byte         `db:"key_check"`
}

func (w wrappedKey) key() keys.WrappedKey {
	return keys.WrappedKey{KEK: w.KEK.String, KEKID: w.KEKID.String, Wrapped: w.Wrapped, KeyCheck: w.KeyCheck}
}

// handedKey gives the wrapped key of a frozen row that was resealed between the intent and the handing out.
func (c *Client) handedKey(ctx context.Context, id uuid.UUID, key uint32) (keys.WrappedKey, error) {
	var w wrappedKey
	err := c.Vault.DB.GetContext(ctx, &w, `SELECT * FROM cloakroom.handed_key($1, $2)`, id, key)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && w.Wrapped == nil:
		return keys.WrappedKey{}, fmt.Errorf("opening with data key %d: %w", key, keys.ErrNoKey)
	case err != nil:
		return keys.WrappedKey{}, doing("taking a data key", err)
	}
	return w.key(), nil
}

// stopTimeout bounds what is done even if the caller was told to stop: ending T3, and T4.
const stopTimeout = 20 * time.Second

// close is T4: the outcome is in the log. Only after it may anything be shown.
func (c *Client) close(ctx context.Context, id uuid.UUID, rows int64, result string) (leaf int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err = c.Vault.DB.GetContext(ctx, &leaf, `SELECT cloakroom.close_opening($1, $2, $3, $4)`, id, rows, result, c.identity())
	if err != nil {
		return 0, doing("logging the outcome", err)
	}
	return leaf, nil
}
