package recover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// OpenOptions tune an opening. Zero fields take the defaults named beside them.
type OpenOptions struct {
	// Wait is how long to wait for the intent to be on disk and, where the policy wants one, under a checkpoint: 30 s.
	Wait time.Duration
	// Memory is how many bytes of opened rows are held in memory; what is beyond is spooled to a temporary file,
	// encrypted under a key that exists in this process alone: 64 MiB.
	Memory int
	// Progress is called now and then with the number of rows opened, out of total. May be nil.
	Progress func(rows, total int64)
}

// Opened is what a request opened: all of it, verified, its outcome logged. Close it.
type Opened struct {
	Columns []Column
	Rows    int64         // rows opened
	Gone    int64         // rows frozen with the intent and deleted or moved away since
	Intent  int64         // number of the leaf that announced it
	Leaf    int64         // number of the leaf with the outcome
	spool   func() *spool // A function, because fmt cannot look into one.
}

// Each calls f with every opened row, in no order, the same each time. The record is f's for the call alone.
func (o *Opened) Each(f func(Record) error) error { return o.spool().each(len(o.Columns), f) }

// Close forgets the opened rows.
func (o *Opened) Close() { o.spool().close() }

// Open opens an approved request. It returns only when every row was opened, every token compared, and the outcome is in the
// audit log; whatever fails before that, nothing of any value is returned, nor left on disk.
//
// Errors: those of the database (not approved, audit log unavailable), of keys and the KEK, and
// [ErrIntegrity].
func (c *Client) Open(ctx context.Context, id uuid.UUID, o OpenOptions) (*Opened, error) {
	details, err := c.Show(ctx, id)
	if err != nil {
		return nil, err
	}
	op, err := c.prepare(ctx, details, o)
	if err != nil {
		return nil, err
	}
	defer op.forget()
	total, intent, err := c.begin(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := c.confirm(ctx, id); err != nil {
		return nil, err
	}
	if err := op.run(ctx, total, o); err != nil {
		op.spool.close()
		return nil, c.failed(ctx, id, op, err)
	}
	result := "ok"
	if op.rows < total {
		result = fmt.Sprintf("ok, %d rows gone", total-op.rows)
	}
	leaf, err := c.close(ctx, id, op.rows, result)
	if err != nil {
		op.spool.close()
		return nil, err
	}
	return &Opened{Columns: op.columns, Rows: op.rows, Gone: total - op.rows, Intent: intent, Leaf: leaf, spool: func() *spool { return op.spool }}, nil
}

// prepare does whatever may fail without having spent the approval: it reaches the database and the KEK.
func (c *Client) prepare(ctx context.Context, d *Details, o OpenOptions) (*opening, error) {
	s, err := c.Vault.Settings(ctx)
	if err != nil {
		return nil, err
	}
	index, err := c.Vault.IndexKeys(ctx, s, c.Dataset)
	if err != nil {
		return nil, err
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	op := &opening{
		client: c, request: d.ID, settings: s, index: index, fields: d.Fields, columns: columnsOf(c.Dataset, d.Fields),
		spool: newSpool(o.Memory),
	}
	op.ring = keys.NewKeyring(c.Vault, s, op.lookup)
	return op, nil
}

// failed logs why an opening failed, once the rows had been handed out, and returns the reason.
func (c *Client) failed(ctx context.Context, id uuid.UUID, op *opening, reason error) error {
	if op.handed == nil {
		return reason // nothing was: the request may be opened again
	}
	if _, err := c.close(ctx, id, 0, failure(reason)); err != nil {
		// The reason alone decides the exit code.
		return fmt.Errorf("%w; and the outcome is not in the log: %v", reason, err)
	}
	return reason
}

// failure is what the log says of an opening that failed: the kind of its reason, never its text.
func failure(reason error) string {
	kind := "other"
	_, isData := keys.Blame(reason)
	switch {
	case errors.Is(reason, context.Canceled):
		kind = "interrupted"
	case errors.Is(reason, keys.ErrNoKey), kek.IsUnavailable(reason):
		kind = "key unavailable"
	case isData, errors.Is(reason, ErrIntegrity):
		kind = "integrity"
	case pg.IsUnavailable(reason):
		kind = "database"
	}
	return "failed: " + kind
}
