// Package pg opens Postgres the way cloakroom needs it, keeps its schema (migrations, roles) and turns its
// errors into ones that may be shown: by SQLSTATE and constraint, never by a detail that quotes a row.
package pg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Config says how to connect. Zero fields take the defaults named beside them.
type Config struct {
	URL              string        // DATABASE_URL; empty: the PG* variables
	ApplicationName  string        // shown in pg_stat_activity; "cloakroom"
	StatementTimeout time.Duration // 60 s; negative: none
	LockTimeout      time.Duration // 10 s; negative: none
	ConnectTimeout   time.Duration // 10 s
	MaxConns         int           // 8
	Role             string        // SET ROLE at connect; empty: stay the login
}

func (c Config) withDefaults() Config {
	if c.ApplicationName == "" {
		c.ApplicationName = "cloakroom"
	}
	if c.StatementTimeout == 0 {
		c.StatementTimeout = 60 * time.Second
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = 10 * time.Second
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.MaxConns == 0 {
		c.MaxConns = 8
	}
	return c
}

// silence is how much longer than the statement timeout a server may say nothing before we drop the connection.
const silence = 10 * time.Second

// settings are those of every session: timeouts, and what our SQL's text and the catalogs' depend on, which a
// server, a database or a role may have set otherwise.
func (c Config) settings() []setting {
	return []setting{
		// What anybody may create in schema public must not stand in for a function of Postgres's own: our statements,
		// those of keys init above all, run with more rights than its maker has.
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"}, // the fence needs it
		{"statement_timeout", milliseconds(c.StatementTimeout)},
		{"lock_timeout", milliseconds(c.LockTimeout)},
		{"idle_in_transaction_session_timeout", milliseconds(10 * time.Second)},
		{"client_encoding", "UTF8"},
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"standard_conforming_strings", "on"},
		{"quote_all_identifiers", "off"}, // keys verify compares a view's text
	}
}

// Open makes a pool; it connects at the first use. Every connection has a statement timeout, a lock timeout and
// a limit on idling inside a transaction, and gives up on a server that says nothing: lib/pq does not always
// honour a context.
//
// Errors at the first use: [SessionError] where a connection is not in the role or lacks a setting asked for.
func Open(c Config) (*sqlx.DB, error) {
	c = c.withDefaults()
	cfg, err := pq.NewConfig(c.URL)
	if err != nil {
		// A setting or variable that is not supported is named; any other cause may quote a part of the text.
		if cause := err.Error(); strings.Contains(cause, "not supported") {
			return nil, fmt.Errorf("reading DATABASE_URL: %w", err)
		}
		return nil, errors.New("reading DATABASE_URL: want a postgres:// URL or a list of KEY=VALUE " +
			"(it is not shown: it may hold a password)")
	}
	cfg.ApplicationName = c.ApplicationName
	cfg.ConnectTimeout = c.ConnectTimeout
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing database connections: %w", Redact(err))
	}
	d := deadlineDialer{connect: c.ConnectTimeout}
	if c.StatementTimeout > 0 {
		d.silence = c.StatementTimeout + silence
	}
	connector.Dialer(d)
	db := sqlx.NewDb(sql.OpenDB(pinned{connector, c.Role, c.settings()}), "postgres")
	db.SetMaxOpenConns(c.MaxConns)
	db.SetMaxIdleConns(c.MaxConns)
	// A staging table's relfrozenxid never advances while its session lives.
	db.SetConnMaxLifetime(30 * time.Minute)
	return db, nil
}

func milliseconds(d time.Duration) string {
	if d < 0 {
		return "0"
	}
	return fmt.Sprint(max(1, d.Milliseconds()))
}

// Loopback reports whether a database URL names a Unix socket or this machine, where TLS protects nothing.
func Loopback(url string) bool {
	cfg, err := pq.NewConfig(url)
	if err != nil {
		return false
	}
	if strings.HasPrefix(cfg.Host, "/") || strings.HasPrefix(cfg.Host, "@") || cfg.Host == "localhost" {
		return true
	}
	ip := net.ParseIP(cfg.Host)
	return ip != nil && ip.IsLoopback()
}

// SSLMode is the sslmode of a database URL, as lib/pq understands it.
func SSLMode(url string) string {
	cfg, err := pq.NewConfig(url)
	if err != nil || cfg.SSLMode == "" {
		return "require"
	}
	return string(cfg.SSLMode)
}

type deadlineDialer struct {
	connect time.Duration
	silence time.Duration // 0: none
}

func (d deadlineDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d deadlineDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d deadlineDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: d.connect, KeepAlive: 15 * time.Second}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil || d.silence == 0 {
		return conn, err
	}
	return &deadlineConn{Conn: conn, silence: d.silence}, nil
}

// deadlineConn fails a read or a write that takes too long, so that a server that hangs (stopped, or behind a dead
// route) is an error.
type deadlineConn struct {
	net.Conn
	silence time.Duration
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *deadlineConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
