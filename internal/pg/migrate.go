package pg

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed roles.sql
var rolesSQL string

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Owner owns every object of cloakroom.
const Owner = "cloakroom_owner"

// versionTable keeps which migrations ran.
const versionTable = "cloakroom.schema_migrations"

func migrations() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the path is a constant of this file
	}
	return sub
}

// SQL is everything Migrate runs, in order, for an operator who wants to read or run it by hand.
func SQL() (string, error) {
	var b strings.Builder
	b.WriteString(rolesSQL)
	b.WriteString("\nSET ROLE cloakroom_owner;\n")
	names, err := fs.Glob(migrations(), "*.sql")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := fs.ReadFile(migrations(), name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n-- ---- %s\n", name)
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "-- +goose") {
				b.WriteString(line)
			}
		}
	}
	b.WriteString("\nRESET ROLE;\n")
	return b.String(), nil
}

// Migrate makes roles, schema, tables, functions and views, or brings them up to date. It is safe to run again
// and from two places at once. The login needs CREATEROLE and must own the database (or be superuser).
//
// Errors: a hint where public.user_logins is somebody else's, or the login may not do what is needed.
func Migrate(ctx context.Context, url string) error {
	db, err := Open(Config{URL: url, ApplicationName: "cloakroom init", MaxConns: 2})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := checkServer(ctx, db); err != nil {
		return err
	}
	if err := refuseForeignViews(ctx, db); err != nil {
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
	store, err := database.NewStore(database.DialectPostgres, versionTable)
	if err != nil {
		return fmt.Errorf("preparing migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return fmt.Errorf("preparing migrations: %w", err)
	}
	provider, err := goose.NewProvider("", asOwner.DB, migrations(), goose.WithStore(store), goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("preparing migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) && partial.Failed != nil {
			return fmt.Errorf("running migration %s: %w", partial.Failed.Source.Path, Redact(partial.Err))
		}
		return fmt.Errorf("running migrations: %w", Redact(err))
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
		return fmt.Errorf("the database's encoding is %s; cloakroom needs UTF8 (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)", encoding)
	}
	return nil
}

func refuseForeignViews(ctx context.Context, db *sqlx.DB) error {
	var foreign []string
	err := db.SelectContext(ctx, &foreign, `
		SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		 WHERE n.nspname = 'public' AND c.relname IN ('user_logins', 'user_login_duplicates')
		   AND NOT (c.relkind = 'v' AND pg_get_userbyid(c.relowner) = $1)`, Owner)
	if err != nil {
		return fmt.Errorf("looking for tables in the way: %w", Redact(err))
	}
	if len(foreign) > 0 {
		return fmt.Errorf("public.%s exists already and is not cloakroom's: rename it (ALTER TABLE public.%[1]s RENAME TO %[1]s_before_cloakroom) or use another database", foreign[0])
	}
	return nil
}

// makeRoles runs roles.sql. Roles are shared by the whole cluster, so another database's init can collide with
// this one: "tuple concurrently updated" (XX000) and a duplicate role name (23505, 42710) pass on a second try.
func makeRoles(ctx context.Context, db *sqlx.DB) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		_, err := db.ExecContext(ctx, rolesSQL)
		switch Code(err) {
		case "":
			return struct{}{}, permanent(err)
		case "XX000", "23505", "42710", "40P01", "40001":
			return struct{}{}, err
		}
		return struct{}{}, backoff.Permanent(err)
	}, backoff.WithMaxElapsedTime(30*time.Second))
	if Code(err) == "42501" {
		return fmt.Errorf("making roles and schema: %w: the login of keys init needs CREATEROLE and must own the database, and where another login made cloakroom's roles, that one must grant: GRANT cloakroom_owner TO this_login WITH ADMIN OPTION", Redact(err))
	}
	if err != nil {
		return fmt.Errorf("making roles and schema: %w", Redact(err))
	}
	return nil
}

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}
