package etl

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// Counts is what a load did with a batch: stored + duplicates + the rejections = the batch's messages.
type Counts struct {
	Stored     int64
	Duplicates int64
	Rejections map[Reason]int64
}

// errStale reports that the vault's state has passed: refresh, protect again, load again.
var errStale = errors.New("the vault has moved on")

// loader loads batches over one connection of its own, on which the staging tables live. Not for concurrent use.
type loader struct {
	vault   *keys.Vault
	session *session // nil: none is open
}

// session is a loader's connection.
type session struct {
	conn   *sqlx.Conn
	now    func() time.Time // the host's clock, which load() compares with the database's
	since  time.Time
	staged *writerState // the state for which its staging tables were made
}

// maxSession is how long a loader keeps a connection. The pool's own limit does not reach one that never goes back, and
// a staging table's relfrozenxid does not advance: a session of weeks would hold up the cluster's transaction ids.
const maxSession = 30 * time.Minute

// load commits a batch: COPY into the staging tables, then cloakroom.load(), in one transaction.
//
// Errors: errStale; one for which pg.IsDataError holds, where a row may be at fault; errLeft; else the infrastructure's.
// After any error the connection is given up: nothing of it is worth keeping.
func (l *loader) load(ctx context.Context, b *batch) (Counts, error) {
	if l.session != nil && time.Since(l.session.since) >= maxSession {
		l.close()
	}
	opened := l.session
	counts, err := orLeave(ctx, func() (Counts, error) {
		if opened == nil {
			conn, err := l.vault.DB.Connx(ctx)
			if err != nil {
				return Counts{}, err
			}
			opened = &session{conn: conn, now: l.vault.Now, since: time.Now()}
		}
		return opened.load(ctx, b)
	})
	if errors.Is(err, errLeft) {
		l.session = nil // and whoever was left behind has it
		return Counts{}, err
	}
	l.session = opened
	if err != nil {
		l.close()
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

func (s *session) load(ctx context.Context, b *batch) (Counts, error) {
	if s.staged != b.state {
		// Outside the batch's transaction, so that the tables outlive it.
		if _, err := s.conn.ExecContext(ctx, `SELECT cloakroom.stage()`); err != nil {
			return Counts{}, err
		}
		s.staged = b.state
	}
	tx, err := s.conn.BeginTxx(ctx, nil)
	if err != nil {
		return Counts{}, err
	}
	defer tx.Rollback()
	if b.nRows > 0 {
		if err := s.copyIn(ctx, "pg_temp.cloakroom_stage", b.state.columns, b.rows); err != nil {
			return Counts{}, err
		}
	}
	if b.nRejected > 0 {
		if err := s.copyIn(ctx, "pg_temp.cloakroom_stage_rejections", b.state.rejectionColumns, b.rejections); err != nil {
			return Counts{}, err
		}
	}
	var row struct {
		Stored     int64  `db:"stored"`
		Duplicates int64  `db:"duplicates"`
		Rejections []byte `db:"rejections"`
	}
	ids, checks := b.keyIDs()
	if err := tx.GetContext(ctx, &row, `SELECT stored, duplicates, rejections FROM cloakroom.load($1, $2, $3, $4, $5)`,
		b.state.settings.Epoch, s.now(), pq.Int64Array(ids), pq.ByteaArray(checks), b.first()); err != nil {
		return Counts{}, err
	}
	counts := Counts{Stored: row.Stored, Duplicates: row.Duplicates}
	if err := json.Unmarshal(row.Rejections, &counts.Rejections); err != nil {
		return Counts{}, fmt.Errorf("reading the load's counts: %w", err)
	}
	return counts, tx.Commit()
}

// undefinedColumn is the SQLSTATE of a column that is not there.
const undefinedColumn = "42703"

// copyChunk is how much is handed to the driver at once, in bytes: a little less than its own buffer.
const copyChunk = 60 << 10

// copyIn runs a COPY with text that ends in a newline.
//
// Its error does not pass through Raw: for driver.ErrBadConn, Raw closes the connection, and waits until the transaction on
// it has ended. This one ends after copyIn.
func (s *session) copyIn(ctx context.Context, table string, columns []string, text []byte) error {
	statement := "COPY " + table + " (" + strings.Join(columns, ", ") + ") FROM STDIN"
	var failed error
	if err := s.conn.Raw(func(driverConn any) error {
		failed = copyText(ctx, driverConn, statement, text)
		return nil
	}); err != nil {
		return err
	}
	return failed
}

// copyText hands the text of a COPY to the driver in chunks: its CopyData adds a newline to each, so a chunk ends where a
// row does, without it.
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

// chunkEnd is the index of the newline that ends the last row within copyChunk, or the first row if that is longer.
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

// close gives the connection up.
func (l *loader) close() {
	if l.session == nil {
		return
	}
	// Never back into the pool: a half-done COPY or a lost answer may linger.
	_ = l.session.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = l.session.conn.Close()
	l.session = nil
}
