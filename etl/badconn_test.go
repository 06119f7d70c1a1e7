package etl

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
	"cloakroom/keys"
)

// badConn is a connection that is found dead when its COPY is prepared. Nothing else of it is asked.
type badConn struct{ driver.Conn }

func (badConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(0), nil
}

func (badConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return badConn{}, nil }

func (badConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return nil, driver.ErrBadConn
}

func (badConn) Rollback() error                                { return driver.ErrBadConn }
func (badConn) Commit() error                                  { return driver.ErrBadConn }
func (badConn) Close() error                                   { return nil }
func (c badConn) Connect(context.Context) (driver.Conn, error) { return c, nil }
func (badConn) Driver() driver.Driver                          { return nil }

// database/sql closes a connection that Raw finds dead, and waits for the transaction on it to end
// first: a loader waited for itself, forever.
func TestLoadOverADeadConnectionEnds(t *testing.T) {
	t.Parallel()
	l := &Loader{vault: &keys.Vault{DB: sqlx.NewDb(sql.OpenDB(badConn{}), "postgres")}}
	defer l.vault.DB.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := l.load(context.Background(), &Batch{state: &writerState{}, parts: []*part{{datasetState: &datasetState{definition: &dataset.Dataset{}}, rows: []byte("row\n"), nRows: 1}}})
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("loading: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("loading over a dead connection never ends")
	}
}
