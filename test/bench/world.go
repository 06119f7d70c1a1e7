package main

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"cloakroom/etl"
	"cloakroom/internal/pg"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// settings are what an operator would set for ingest on a small server. fsync and synchronous_commit stay on.
var settings = map[string]string{
	// So that tables of 10 million rows that take turns do not throw each other's indexes out.
	"shared_buffers":     quarterOfMemory(),
	"max_wal_size":       "16GB",
	"checkpoint_timeout": "1h",
	// It would fall on one contender and not on its neighbour. What is grown is vacuumed before it is measured.
	"autovacuum": "off",
}

// Logins of the roles that are measured.
const (
	ingestLogin  = "bench_ingest"
	rotatorLogin = "bench_rotator"
)

// world is one Postgres with databases in it, each with a vault.
type world struct {
	server    *pgserver.Server
	dir       string
	kekURI    string
	kek       *kek.Set
	databases []*database
}

// newWorld starts Postgres with its files on a disk, not in memory.
func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "cloakroom-bench-"); err != nil {
		return w, err
	}
	path := filepath.Join(w.dir, "kek")
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString([]byte("cloakroom bench: this KEK is no "))), 0o600); err != nil {
		return w, err
	}
	w.kekURI = "file://" + path
	if w.kek, err = kek.Open(ctx, w.kekURI); err != nil {
		return w, err
	}
	w.server, err = pgserver.Start(ctx, pgserver.Config{Settings: settings})
	return w, err
}

func (w *world) close() error {
	var problems []error
	for _, d := range w.databases {
		problems = append(problems, d.close())
	}
	if w.server != nil {
		problems = append(problems, w.server.Stop())
	}
	return errors.Join(append(problems, os.RemoveAll(w.dir))...)
}

// database is one database with a vault, and a writer of the role ingest.
type database struct {
	name   string
	admin  *sqlx.DB   // superuser
	pools  []*sqlx.DB // admin and the logins
	url    string     // of the superuser
	writer *etl.Writer
	psql   string // path; empty: not installed
	date   string // create_date of the rows that prepareBare numbered
}

// database makes a database in which keys init has run.
func (w *world) database(ctx context.Context, name string) (*database, error) {
	super := w.server.SuperUser()
	d := &database{name: name, url: w.server.URL(super, name), psql: w.psql()}
	root, err := sqlx.ConnectContext(ctx, "postgres", w.server.URL(super, "postgres"))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := root.ExecContext(ctx, `CREATE DATABASE `+name); err != nil {
		return nil, err
	}
	if _, err := keys.Init(ctx, d.url, w.kek); err != nil {
		return nil, err
	}
	// No statement timeout: growing takes long.
	if d.admin, err = pg.Open(pg.Config{URL: d.url, StatementTimeout: -1}); err != nil {
		return nil, err
	}
	d.pools = append(d.pools, d.admin)
	w.databases = append(w.databases, d)
	v, err := w.login(ctx, d, ingestLogin, "ingest")
	if err != nil {
		return nil, err
	}
	d.writer, err = etl.NewWriter(ctx, v, nil, keys.Caps{})
	return d, err
}

// close closes the connections; more than once does no harm.
func (d *database) close() error {
	var problems []error
	for _, pool := range d.pools {
		problems = append(problems, pool.Close())
	}
	return errors.Join(problems...)
}

// drop removes a database.
func (w *world) drop(ctx context.Context, d *database) error {
	if err := d.close(); err != nil {
		return err
	}
	root, err := sqlx.ConnectContext(ctx, "postgres", w.server.URL(w.server.SuperUser(), "postgres"))
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = root.ExecContext(ctx, `DROP DATABASE `+d.name)
	return err
}

// login makes a login that holds a role in a database, and a vault as that login sees it.
func (w *world) login(ctx context.Context, d *database, login, role string) (*keys.Vault, error) {
	if _, err := d.admin.ExecContext(ctx, `DO $$ BEGIN CREATE ROLE `+login+` LOGIN; EXCEPTION WHEN duplicate_object THEN END $$`); err != nil {
		return nil, err
	}
	if _, err := keys.Grant(ctx, d.url, login, role, keys.GrantOptions{}); err != nil {
		return nil, err
	}
	pool, err := pg.Open(pg.Config{URL: w.server.URL(login, d.name)})
	if err != nil {
		return nil, err
	}
	d.pools = append(d.pools, pool)
	return &keys.Vault{DB: pool, KEK: w.kek}, nil
}

func (w *world) psql() string {
	path := filepath.Join(w.server.BinDir(), "psql")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// truncate empties the table and its indexes.
func (d *database) truncate(ctx context.Context) error {
	_, err := d.admin.ExecContext(ctx, `TRUNCATE cloakroom_data.user_logins, cloakroom.rejections`)
	return err
}

// rows is how many rows the table has.
func (d *database) rows(ctx context.Context) (n int, err error) {
	err = d.admin.GetContext(ctx, &n, `SELECT count(*) FROM cloakroom_data.user_logins`)
	return n, err
}

//go:embed grow.sql
var growSQL string

// seeds are the ingested rows from which grow takes the tokens that come again.
const seeds = 20_000

// grow fills this month's partition of an empty table with a number of rows: a few ingested, the others made on the server
// over two connections.
func (d *database) grow(ctx context.Context, rows int, as distribution) error {
	if err := d.ingest(ctx, newGenerator(as, 1).messages(seeds)); err != nil {
		return err
	}
	const parts = 2
	var group errgroup.Group
	for range parts {
		group.Go(func() error {
			conn, err := d.admin.Connx(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.ExecContext(ctx, `SELECT set_config('bench.rows', $1, false), set_config('bench.as', $2, false)`,
				strconv.Itoa((rows-seeds)/parts+1), string(as)); err != nil {
				return err
			}
			_, err = conn.ExecContext(ctx, growSQL)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("growing the table: %w", err)
	}
	_, err := d.admin.ExecContext(ctx, `VACUUM ANALYZE cloakroom_data.user_logins`)
	return err
}
