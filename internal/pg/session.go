package pg

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/lib/pq"
)

// A session is what was asked for, or it is refused. Settings in the startup message are not enough: a pooler may
// ignore them, and then keys init would create every function as the login, not as the owner.

// SessionError is a new connection that is not what was asked for.
type SessionError struct{ Setting, Want, Got string }

func (e *SessionError) Error() string {
	return fmt.Sprintf("the database session has %s %q, not %q: does a pooler stand between, one that shares sessions? "+
		"Connect past it, or have it pool whole sessions (session mode)", e.Setting, e.Got, e.Want)
}

// setting is one of the session. Its value is what set_config takes.
type setting struct{ name, value string }

// pinned connects, sets the session up, and reads it back: two round trips for each new connection.
type pinned struct {
	*pq.Connector
	role     string // empty: the login's own
	settings []setting
}

func (p pinned) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.pin(ctx, conn); err != nil {
		_ = conn.Close() // the first error tells
		return nil, err
	}
	return conn, nil
}

func (p pinned) pin(ctx context.Context, conn driver.Conn) error {
	querier, ok := conn.(driver.QueryerContext)
	if !ok {
		return errors.New("preparing a database connection: the driver cannot query")
	}
	role := p.role
	if role == "" {
		role = "none"
	}
	set := "SELECT pg_catalog.set_config('role', " + pq.QuoteLiteral(role) + ", false)"
	get := "SELECT current_user = " + pq.QuoteLiteral(p.role)
	if p.role == "" {
		get = "SELECT current_user = session_user"
	}
	get += ", current_user"
	for _, s := range p.settings {
		set += ", pg_catalog.set_config(" + pq.QuoteLiteral(s.name) + ", " + pq.QuoteLiteral(s.value) + ", false)"
		get += ", pg_catalog.current_setting(" + pq.QuoteLiteral(s.name) + ")"
	}
	// set_config returns each value as the server spells it: 60000 comes back as 1min.
	want, err := queryRow(ctx, querier, set, 1+len(p.settings))
	if err != nil {
		err = Redact(err)
		var shown *Error
		if errors.As(err, &shown) && shown.Code == "22023" && p.role != "" {
			shown.hint = "the role " + p.role + " is missing: run keys init"
		}
		return fmt.Errorf("setting up the database session: %w", err)
	}
	got, err := queryRow(ctx, querier, get, 2+len(p.settings))
	if err != nil {
		return fmt.Errorf("reading the database session back: %w", Redact(err))
	}
	if got[0] != "true" {
		return &SessionError{"user", role, got[1]}
	}
	for i, s := range p.settings {
		if got[i+2] != want[i+1] {
			return &SessionError{s.name, want[i+1], got[i+2]}
		}
	}
	return nil
}

// queryRow runs a query without parameters, hence in one message and nothing prepared, and returns its row as text.
func queryRow(ctx context.Context, conn driver.QueryerContext, query string, columns int) ([]string, error) {
	rows, err := conn.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	values := make([]driver.Value, columns)
	if err := rows.Next(values); err != nil {
		return nil, err
	}
	texts := make([]string, columns)
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			v = string(b)
		}
		texts[i] = fmt.Sprint(v)
	}
	// To the end: an error may come after the row.
	if err := rows.Next(values); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading one row: %w", err)
	}
	return texts, nil
}
