package recover

import (
	"cmp"
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
	"cloakroom/keys/kek"
)

// An opening is four transactions, T1 to T4, in this file in their order. The database refuses two
// of them in one, so nothing that a client may still roll back has shown it a sealed value.

// OpenOptions tune an opening. Zero fields take the defaults named beside them.
type OpenOptions struct {
	// Wait is how long to wait until the intent is on disk and, if the policy wants one, under a
	// checkpoint: 30 s.
	Wait time.Duration
	// Memory is how many bytes of opened rows stay in memory: 64 MiB. The rest goes to a temporary
	// file, encrypted under a key that only this process has.
	Memory int
	// SkipDamaged leaves out rows that do not open, and names them, instead of opening none.
	SkipDamaged bool
	// Progress is called now and then with the number of rows opened, out of total. May be nil.
	Progress func(rows, total int64)
}

const (
	defaultWait   = 30 * time.Second
	defaultMemory = 64 << 20
)

// OpenedRows is everything that a request opened: verified, with the outcome logged. Close it.
type OpenedRows struct {
	Columns []Column
	Rows    int64         // rows opened
	Gone    int64         // rows frozen by the intent and deleted or moved since
	Damaged []DamagedRow  // left out: they do not open
	Intent  int64         // number of the leaf with the intent
	Leaf    int64         // number of the leaf with the outcome
	spool   func() *spool // A function, because fmt cannot look into one.
}

// DamagedRow is a row or a rejection that does not open. It holds no value.
type DamagedRow struct {
	Kind    string    `json:"kind"` // row, rejection
	ID      uuid.UUID `json:"id"`
	DataKey uint32    `json:"data_key"`
	Problem string    `json:"problem"`
}

// Each calls f with every opened row, in an order that does not change. f may use the record only
// until it returns.
func (o *OpenedRows) Each(f func(Record) error) error { return o.spool().each(len(o.Columns), f) }

// Close zeroes the opened rows and removes the temporary file.
func (o *OpenedRows) Close() { o.spool().close() }

// ErrApprovalSpent is beside the reason of a failure after the rows were handed out.
var ErrApprovalSpent = errors.New("the rows were handed out, so the approval is spent: request again")

// Open opens an approved request. It returns only after every row opened, every token matched and
// the outcome is in the audit log. On failure it returns no value and leaves none on disk.
//
// Errors: [ErrNoRequest]; [ErrIntegrity]; those of packages keys and kek; [pg.Error] (pg.NotApproved,
// pg.AuditUnavailable, pg.NotLoggedYet); and beside any of them, if the request cannot be opened again,
// [ErrApprovalSpent].
func (c *Client) Open(ctx context.Context, id uuid.UUID, o OpenOptions) (_ *OpenedRows, err error) {
	defer func() {
		// lib/pq reports a statement that Ctrl-C cancelled as a lost connection or SQLSTATE 57014.
		if err != nil && ctx.Err() != nil && !errors.Is(err, ErrApprovalSpent) {
			err = fmt.Errorf("%w: nothing was handed out, so it can be opened again (%v)", ctx.Err(), err)
		}
	}()
	details, err := c.Show(ctx, id)
	if err != nil {
		return nil, err
	}
	if details.Dataset == nil {
		// It forgets and opens nothing: the database refuses, and the refusal is logged.
		_, _, err := c.logIntent(ctx, id)
		return nil, cmp.Or(err, ErrNoRequest)
	}
	// Whatever can fail before the approval is spent fails here: this reaches the database and the
	// KEK.
	job, err := c.newOpenJob(ctx, details, o)
	if err != nil {
		return nil, err
	}
	defer job.destroyKeys()
	ctx, journal := kek.WithJournal(ctx)
	frozen, intent, err := c.logIntent(ctx, id) // T1
	if err != nil {
		return nil, err
	}
	if err := c.confirmIntent(ctx, id); err != nil { // T2
		return nil, err
	}
	err = job.run(ctx, frozen, o) // T3
	// Also of an opening that failed: what KMS did stands in KMS's log.
	unlogged := c.logCalls(ctx, id, journal)
	if err := cmp.Or(err, unlogged); err != nil {
		job.spool.close()
		if !job.handedOut {
			return nil, err // nothing was: the request can be opened again
		}
		return nil, c.logFailure(ctx, id, err)
	}
	result := "ok"
	gone := frozen - job.rows - int64(len(job.damaged))
	if gone > 0 {
		result += fmt.Sprintf(", %d rows gone", gone)
	}
	if len(job.damaged) > 0 {
		result += fmt.Sprintf(", %d rows damaged and left out", len(job.damaged))
	}
	leaf, err := c.logOutcome(ctx, id, job.rows, result) // T4
	if err != nil {
		job.spool.close()
		return nil, fmt.Errorf("%w; %w", err, ErrApprovalSpent)
	}
	return &OpenedRows{
		Columns: job.columns, Rows: job.rows, Gone: gone, Damaged: job.damaged, Intent: intent, Leaf: leaf,
		spool: func() *spool { return job.spool },
	}, nil
}

// logIntent is T1. It logs the intent and freezes the ids of the rows; the database hands out
// nothing.
func (c *Client) logIntent(ctx context.Context, id uuid.UUID) (rows, leaf int64, err error) {
	row := c.Vault.DB.QueryRowContext(ctx, `SELECT rows, leaf FROM cloakroom.begin_opening($1, $2)`, id, c.identity())
	if err := row.Scan(&rows, &leaf); err != nil {
		c.noteRefusal(ctx, id, "open", err)
		return 0, 0, dbError("logging the intent", auditor, err)
	}
	return rows, leaf, nil
}

// confirmIntent is T2. The database checks that T1 is committed, and notes the end of its log on
// disk (WAL).
func (c *Client) confirmIntent(ctx context.Context, id uuid.UUID) error {
	if _, err := c.Vault.DB.ExecContext(ctx, `SELECT cloakroom.confirm_opening($1)`, id); err != nil {
		return dbError("confirming the intent", auditor, err)
	}
	return nil
}

// handOut is T3 at work. First it holds the wrapped keys, then rows stream from it; commit ends it.
//
// It must commit whatever becomes of the rows, because without it the outcome cannot be logged. So
// nothing that stops an opening (KMS refuses a key, a row is damaged, Ctrl-C) may cancel one of its
// statements: on a cancelled context, lib/pq drops the connection, and the transaction rolls back.
type handOut struct {
	versions []uint32 // of the tokens
	wrapped  map[uint32]keys.WrappedKey
	tx       *sqlx.Tx
}

// beginHandOut begins T3. It tries again for as long as wait while the database says that the
// intent is not on disk, or not under a checkpoint, yet.
func (c *Client) beginHandOut(ctx context.Context, id uuid.UUID, wait time.Duration) (*handOut, error) {
	pause := 10 * time.Millisecond
	for deadline := time.Now().Add(wait); ; pause = min(2*pause, time.Second) {
		h, err := c.tryHandOut(ctx, id)
		switch {
		case err == nil:
			return h, nil
		case pg.Code(err) != pg.NotLoggedYet || time.Now().Add(pause).After(deadline):
			return nil, dbError("taking the rows", auditor, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// tryHandOut runs T3 up to its cursor. It begins the transaction without ctx's cancellation,
// because database/sql would roll it back on Ctrl-C; a cancelled statement before the savepoint
// still ends it.
func (c *Client) tryHandOut(ctx context.Context, id uuid.UUID) (_ *handOut, err error) {
	tx, err := c.Vault.DB.BeginTxx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	// The join of 100,000 frozen ids fits into this memory. The transaction idles while KMS delays
	// the last rows.
	const settings = `SET LOCAL work_mem = '64MB'; SET LOCAL idle_in_transaction_session_timeout = '15min'`
	if _, err := tx.ExecContext(ctx, settings); err != nil {
		return nil, err
	}
	var list []struct {
		Kind string `db:"kind"` // version or key
		ID   uint32 `db:"id"`
		wrappedKey
	}
	if err := tx.SelectContext(ctx, &list, `SELECT * FROM cloakroom.hand_out($1, 'handed_rows')`, id); err != nil {
		return nil, err
	}
	// What the database has handed out up to here stays handed out, whatever a FETCH does.
	if _, err := tx.ExecContext(ctx, `SAVEPOINT handed_out`); err != nil {
		return nil, err
	}
	h := &handOut{wrapped: map[uint32]keys.WrappedKey{}, tx: tx}
	for _, k := range list {
		if k.Kind == "version" {
			h.versions = append(h.versions, k.ID)
		} else {
			h.wrapped[k.ID] = k.key()
		}
	}
	return h, nil
}

// fetchRows is how many rows one FETCH takes. Postgres runs a FETCH to its end before it sends its
// first row. Many small ones in one message let it go on while rows are opened. fetchesPerMessage
// bounds what must be read to its end after an opening stopped: 10,000 rows.
const (
	fetchRows         = 250
	fetchesPerMessage = 40
)

// each calls f with every row, a bytea that is valid until f returns. It stops at f's first error.
func (h *handOut) each(ctx context.Context, f func(row []byte) error) error {
	patient, cancel := withGrace(ctx)
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

// fetch sends one message of FETCHes and returns how many rows came.
func (h *handOut) fetch(ctx context.Context, f func(row []byte) error) (n int, err error) {
	message := strings.Repeat(fmt.Sprintf("FETCH %d FROM handed_rows;", fetchRows), fetchesPerMessage)
	rows, err := h.tx.QueryContext(ctx, message)
	if err != nil {
		return 0, dbError("taking the rows", auditor, err)
	}
	defer rows.Close()
	var row sql.RawBytes
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			if err := rows.Scan(&row); err != nil {
				return n, dbError("taking the rows", auditor, err)
			}
			if err := f(row); err != nil {
				return n, err
			}
			n++
		}
	}
	if err := rows.Err(); err != nil {
		return n, dbError("taking the rows", auditor, err)
	}
	return n, nil
}

// commit ends T3: the rows were handed out, whatever became of them. The savepoint undoes a FETCH
// that failed and keeps the handing out.
func (h *handOut) commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	_, err := h.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT handed_out`)
	if err != nil {
		_ = h.tx.Rollback()
	} else {
		err = h.tx.Commit()
	}
	if err != nil {
		return dbError("ending the handing out", auditor, err)
	}
	return nil
}

// grace is how long an opening that was told to stop has for its statement under way, the end of
// T3, and T4: each.
const grace = 20 * time.Second

// withGrace gives a context that ends only when grace has passed since ctx was cancelled.
func withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return patient, func() { stop(); cancel() }
}

// logOutcome is T4. Only after it may a value be shown. It runs even if ctx was cancelled.
func (c *Client) logOutcome(ctx context.Context, id uuid.UUID, rows int64, result string) (leaf int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err = c.Vault.DB.GetContext(ctx, &leaf, `SELECT cloakroom.close_opening($1, $2, $3, $4)`,
		id, rows, result, c.identity())
	if err != nil {
		return 0, dbError("logging the outcome", auditor, err)
	}
	return leaf, nil
}

// logFailure is T4 after a failure. It logs the kind of failure, never its text, and returns the
// failure.
func (c *Client) logFailure(ctx context.Context, id uuid.UUID, failure error) error {
	if _, err := c.logOutcome(ctx, id, 0, failureResult(failure)); err != nil {
		// %v: the failure alone decides the exit code.
		const unlogged = "the outcome is not in the log, so recover report lists the opening as unfinished"
		return fmt.Errorf("%w; %w; %s: %v", failure, ErrApprovalSpent, unlogged, err)
	}
	return fmt.Errorf("%w; %w", failure, ErrApprovalSpent)
}
