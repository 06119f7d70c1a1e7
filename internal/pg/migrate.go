package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"cloakroom/internal/retry"
)

// schemaPauses are those between tries where two inits meet.
var schemaPauses = retry.Pauses{First: 100 * time.Millisecond, Total: 30 * time.Second}

// Owner owns every object of cloakroom.
const Owner = "cloakroom_owner"

// Migrate makes roles, schema, tables, functions and views, or brings them up to date. It is safe to run again
// and from two places at once. The login needs CREATEROLE and must own the database (or be superuser).
//
// Errors: a hint where the login may not do what is needed, or the database's
// API is newer than the program's.
func Migrate(ctx context.Context, url string) error { return MigrateWith(ctx, url, MigrateOptions{}) }

// MigrateOptions says how to migrate; zero is what an operator nearly always wants.
type MigrateOptions struct {
	Downgrade bool // apply this program's API over one with a higher number, and log that
}

// MigrateWith is Migrate with options.
func MigrateWith(ctx context.Context, url string, o MigrateOptions) error {
	db, err := Open(Config{URL: url, ApplicationName: "cloakroom init", MaxConns: 2})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := checkServer(ctx, db); err != nil {
		return err
	}
	if err := makeRoles(ctx, db); err != nil {
		return err
	}

	asOwner, err := Open(Config{URL: url, ApplicationName: "cloakroom init", Role: Owner, MaxConns: 4})
	if err != nil {
		return err
	}
	defer asOwner.Close()
	lock, err := lockSchema(ctx, asOwner)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Rollback() }() // after its commit this does nothing
	if err := makeTables(ctx, asOwner); err != nil {
		return err
	}
	if err := applyAPI(ctx, lock, o.Downgrade); err != nil {
		return err
	}
	if err := lock.Commit(); err != nil {
		return fmt.Errorf("committing the API: %w", Redact(err))
	}
	return nil
}

// lockSchema waits until nobody else changes the schema, in a transaction that holds the lock to its end.
func lockSchema(ctx context.Context, db *sqlx.DB) (*sqlx.Tx, error) {
	madeAtOnce := func(err error) bool { return slices.Contains([]string{"23505", "42P07", "42710", "XX000"}, Code(err)) }
	err := retry.Do(ctx, schemaPauses, madeAtOnce, func() error {
		_, err := db.ExecContext(ctx, migratingSQL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to lock the schema: %w", Redact(err))
	}
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("preparing to lock the schema: %w", Redact(err))
	}
	// It idles in this transaction while the tables are made in others.
	if _, err = tx.ExecContext(ctx, `SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '50s';
		`+asOwnerSQL); err != nil {
		_ = tx.Rollback() // the first error tells
		return nil, fmt.Errorf("waiting for another keys init to end: %w", Redact(err))
	}
	return tx, nil
}

// makeTables runs the files of tables/ that did not run yet, each in a transaction of its own.
func makeTables(ctx context.Context, db *sqlx.DB) error {
	store, err := database.NewStore(database.DialectPostgres, versionTable)
	if err != nil {
		return fmt.Errorf("preparing the tables: %w", err)
	}
	provider, err := goose.NewProvider("", db.DB, tableFiles(), goose.WithStore(store))
	if err != nil {
		return fmt.Errorf("preparing the tables: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) && partial.Failed != nil {
			return fmt.Errorf("running tables/%s: %w", partial.Failed.Source.Path, Redact(partial.Err))
		}
		return fmt.Errorf("making the tables: %w", Redact(err))
	}
	return nil
}

// applyAPI replaces the API functions if the database's are not the program's, in the transaction that holds the
// lock.
func applyAPI(ctx context.Context, tx *sqlx.Tx, downgrade bool) error {
	var same bool
	if err := tx.GetContext(ctx, &same, `
		SELECT coalesce((SELECT (number, sha256) = ($1, $2) FROM cloakroom.api_versions ORDER BY id DESC LIMIT 1), false)`,
		apiNumber, apiSHA256()); err != nil {
		return fmt.Errorf("reading the API's version: %w", Redact(err))
	}
	if same {
		return nil
	}
	for _, s := range apiSections(downgrade) {
		if _, err := tx.ExecContext(ctx, s.sql); err != nil {
			return fmt.Errorf("applying %s: %w", s.name, Redact(err))
		}
	}
	return nil
}

// oldest is the oldest Postgres that is tested: server_version_num.
const oldest = 140000

func checkServer(ctx context.Context, db *sqlx.DB) error {
	var version int
	if err := db.GetContext(ctx, &version, `SELECT current_setting('server_version_num')::int`); err != nil {
		return Unreachable(err)
	}
	if version < oldest {
		return fmt.Errorf("this Postgres is version %d; cloakroom needs 14 or later", version/10000)
	}
	var encoding string
	if err := db.GetContext(ctx, &encoding, `SELECT current_setting('server_encoding')`); err != nil {
		return Unreachable(err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s; cloakroom needs UTF8 "+
			"(CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)", encoding)
	}
	return nil
}

// makeRoles runs roles.sql. Roles are shared by the whole cluster, so another database's init can collide with
// this one: "tuple concurrently updated" (XX000) and a duplicate role name (23505, 42710) pass on a second try.
func makeRoles(ctx context.Context, db *sqlx.DB) error {
	collided := func(err error) bool {
		return slices.Contains([]string{"XX000", "23505", "42710", "40P01", "40001"}, Code(err))
	}
	err := retry.Do(ctx, schemaPauses, collided, func() error {
		_, err := db.ExecContext(ctx, schemaFile("roles.sql"))
		return err
	})
	if Code(err) == "42501" {
		return fmt.Errorf("making roles and schema: %w: the login of keys init needs CREATEROLE and must own the database; "+
			"if another login made cloakroom's roles, it must GRANT cloakroom_owner TO this_login WITH ADMIN OPTION",
			Redact(err))
	}
	if err != nil {
		return fmt.Errorf("making roles and schema: %w", Redact(err))
	}
	return nil
}
