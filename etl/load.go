package etl

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// Counts is what a load did with a batch: stored + duplicates + the rejections + ignored = the batch's
// messages.
type Counts struct {
	Stored     int64
	Duplicates int64
	// RejectedBefore are those of Duplicates that could be rows, but whose delivery is a rejection already.
	RejectedBefore int64
	Rejections     map[Reason]int64
	// Ignored were no events: they are deleted, and nothing of them is stored.
	Ignored int64
	// Dropped counts optional members that are NULL because they could not be read, of duplicates, too.
	Dropped map[Dropped]int64
	// Datasets are the same counts for each dataset of the batch.
	Datasets map[string]Counts
}

// Dropped is an optional member of a dataset that could not be read, and why.
type Dropped struct {
	Member string
	Reason Reason
}

// add counts what was loaded of a dataset.
func (c *Counts) add(dataset string, of Counts) {
	if c.Datasets == nil {
		c.Rejections, c.Dropped, c.Datasets = map[Reason]int64{}, map[Dropped]int64{}, map[string]Counts{}
	}
	c.Stored += of.Stored
	c.Duplicates += of.Duplicates
	c.RejectedBefore += of.RejectedBefore
	for reason, n := range of.Rejections {
		c.Rejections[reason] += n
	}
	for d, n := range of.Dropped {
		c.Dropped[d] += n
	}
	c.Datasets[dataset] = of
}

// errStale reports that the batch was protected under an older state of the vault: read it, protect
// again, load again.
var errStale = errors.New("the vault has moved on")

// errAbandoned reports a call to the database that was left behind. It may still read what it was
// given.
var errAbandoned = errors.New("left a call to the database behind")

// abandonAfter is how long a call may go on once its context has ended.
const abandonAfter = time.Second

// callWithDeadline makes a call to the database, and leaves it behind if it goes on after ctx has
// ended. lib/pq asks the server to cancel and then waits for its answer, which a server that hangs
// never gives.
func callWithDeadline[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := call()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(abandonAfter):
		var none T
		return none, errAbandoned
	}
}

// Loader loads batches over one connection of its own, on which the staging tables live. It
// connects at its first batch. It is not for concurrent use. Close it.
type Loader struct {
	vault   *keys.Vault
	session *session // nil: none is open
}

// NewLoader makes a loader.
func NewLoader(w *Writer) *Loader { return &Loader{vault: w.vault} }

// Load commits a batch once. Unlike Run it does not try again, whatever the error.
func (l *Loader) Load(ctx context.Context, b *Batch) (Counts, error) { return l.load(ctx, b) }

// Close gives the connection up.
func (l *Loader) Close() {
	if l.session == nil {
		return
	}
	// Never back into the pool: an unfinished COPY or an answer that nobody read may be left on it.
	_ = l.session.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = l.session.conn.Close()
	l.session = nil
}

// session is a loader's connection.
type session struct {
	conn   *sqlx.Conn
	now    func() time.Time // the host's clock, which load() compares with the database's
	since  time.Time
	state  *writerState    // the state for which its staging tables were made
	staged map[string]bool // datasets of which there are some
}

// maxSession is how long a loader keeps a connection. The pool's own limit does not reach a
// connection that never goes back. A staging table's relfrozenxid does not advance, so a session of
// weeks would hold up the cluster's transaction ids.
const maxSession = 30 * time.Minute

// load commits a batch: COPY into the staging tables, then cloakroom.load(), in one transaction.
//
// Errors: errStale; pg.ClocksDiffer; one for which pg.IsDataError holds, where a row may be at
// fault; errAbandoned; else the infrastructure's. After any error the connection is closed: its
// state is unknown.
func (l *Loader) load(ctx context.Context, b *Batch) (Counts, error) {
	if len(b.parts) == 0 {
		return Counts{Ignored: b.ignored}, nil
	}
	if l.session != nil && time.Since(l.session.since) >= maxSession {
		l.Close()
	}
	opened := l.session
	counts, err := callWithDeadline(ctx, func() (Counts, error) {
		if opened == nil {
			conn, err := l.vault.DB.Connx(ctx)
			if err != nil {
				return Counts{}, err
			}
			opened = &session{conn: conn, now: l.vault.Now, since: time.Now()}
		}
		return opened.load(ctx, b)
	})
	if errors.Is(err, errAbandoned) {
		l.session = nil // the call that was left behind still uses it
		return Counts{}, err
	}
	l.session = opened
	if err != nil {
		l.Close()
		switch pg.Code(err) {
		case pg.StaleEpoch, pg.UnknownDataKey:
			return Counts{}, fmt.Errorf("%w: %w", errStale, pg.Redact(err))
		case undefinedColumn:
			// A reindex has dropped the old tokens' columns since this batch was protected.
			if s, now := l.vault.Settings(ctx); now == nil && s.Epoch != b.state.settings.Epoch {
				return Counts{}, fmt.Errorf("%w: %w", errStale, pg.Redact(err))
			}
		}
		return Counts{}, fmt.Errorf("loading a batch: %w", pg.Redact(err))
	}
	return counts, nil
}

func (s *session) load(ctx context.Context, b *Batch) (counts Counts, err error) {
	counts.Ignored = b.ignored
	if s.state != b.state {
		s.state, s.staged = b.state, map[string]bool{}
	}
	for _, p := range b.parts {
		if name := p.definition.Name; !s.staged[name] {
			// Outside the batch's transaction, so that the tables outlive it.
			if _, err := s.conn.ExecContext(ctx, `SELECT cloakroom.stage($1)`, name); err != nil {
				return Counts{}, err
			}
			s.staged[name] = true
		}
	}
	tx, err := s.conn.BeginTxx(ctx, nil)
	if err != nil {
		return Counts{}, err
	}
	defer tx.Rollback()
	for _, p := range b.parts {
		of, err := s.loadPart(ctx, tx, b, p)
		if err != nil {
			return Counts{}, err
		}
		counts.add(p.definition.Name, of)
	}
	return counts, tx.Commit()
}

// loadPart loads what a batch holds of one dataset.
func (s *session) loadPart(ctx context.Context, tx *sqlx.Tx, b *Batch, p *part) (Counts, error) {
	if p.nRows > 0 {
		if err := s.copyIn(ctx, p.copyRows, p.rows); err != nil {
			return Counts{}, err
		}
	}
	if p.nRejected > 0 {
		if err := s.copyIn(ctx, p.copyRejections, p.rejections); err != nil {
			return Counts{}, err
		}
	}
	var row struct {
		Stored         int64  `db:"stored"`
		Duplicates     int64  `db:"duplicates"`
		Rejections     []byte `db:"rejections"`
		RejectedBefore int64  `db:"rejected_before"`
	}
	ids, checks := p.keyIDs()
	if err := tx.GetContext(ctx, &row, `
		SELECT stored, duplicates, rejections, rejected_before FROM cloakroom.load($1, $2, $3, $4, $5, $6)`,
		b.state.settings.Epoch, s.now(), p.definition.Name, pq.Int64Array(ids), pq.ByteaArray(checks),
		b.first()); err != nil {
		return Counts{}, err
	}
	counts := Counts{
		Stored: row.Stored, Duplicates: row.Duplicates, RejectedBefore: row.RejectedBefore, Dropped: p.dropped,
	}
	if err := json.Unmarshal(row.Rejections, &counts.Rejections); err != nil {
		return Counts{}, fmt.Errorf("reading the load's counts: %w", err)
	}
	return counts, nil
}

// undefinedColumn is the SQLSTATE of a column that is not there.
const undefinedColumn = "42703"

// copyChunk is how much is handed to the driver at once, in bytes: a little less than its own
// buffer.
const copyChunk = 60 << 10

// copyIn runs a COPY with text that ends in a newline.
//
// Its error does not pass through Raw: for driver.ErrBadConn, Raw closes the connection, and waits
// until the transaction on it has ended. This one ends after copyIn.
func (s *session) copyIn(ctx context.Context, statement string, text []byte) error {
	var failed error
	if err := s.conn.Raw(func(driverConn any) error {
		failed = copyText(ctx, driverConn, statement, text)
		return nil
	}); err != nil {
		return err
	}
	return failed
}

// copyText hands the text of a COPY to the driver in chunks: its CopyData adds a newline to each,
// so a chunk ends where a row does, without it.
func copyText(ctx context.Context, driverConn any, statement string, text []byte) error {
	preparer, ok := driverConn.(driver.ConnPrepareContext)
	if !ok {
		return errors.New("the database driver cannot prepare statements")
	}
	stmt, err := preparer.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer stmt.Close()
	in, ok := stmt.(interface {
		CopyData(ctx context.Context, line string) (driver.Result, error)
	})
	if !ok {
		return errors.New("the database driver cannot COPY")
	}
	for len(text) > 0 {
		end := chunkEnd(text)
		// The driver copies the chunk into its buffer before it returns.
		if _, err := in.CopyData(ctx, unsafe.String(unsafe.SliceData(text), end)); err != nil {
			return err
		}
		text = text[end+1:]
	}
	//lint:ignore SA1019 lib/pq ends a COPY by Exec without arguments, which has no newer form
	_, err = stmt.Exec(nil)
	return err
}

// chunkEnd is the index of the newline that ends the last row within copyChunk, or the first row if
// that is longer.
func chunkEnd(text []byte) int {
	if len(text) > copyChunk {
		for i := copyChunk; i > 0; i-- {
			if text[i-1] == '\n' {
				return i - 1
			}
		}
		for i := copyChunk; i < len(text); i++ {
			if text[i] == '\n' {
				return i
			}
		}
	}
	return len(text) - 1
}
