package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/spf13/cobra"

	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// VaultFlags say where the vault is: its database and its KEKs. They are known once the command
// runs.
type VaultFlags struct {
	DatabaseURL string
	KEKs        string
}

// AddVault declares --database-url and --kek for a program.
func AddVault(root *cobra.Command) *VaultFlags {
	v := &VaultFlags{}
	f := Shared(root)
	f.Secret(&v.DatabaseURL, "database-url",
		"Postgres, postgres://USER@HOST/DATABASE?sslmode=verify-full (DATABASE_URL); "+
			"keep a password in the environment or a file")
	f.String(&v.KEKs, "kek", "",
		"KEK that wraps new keys, awskms:///alias/NAME or file:///PATH; after a comma, others that may still unwrap")
	return v
}

// VaultConfig is how a program uses the vault. Zero fields take the defaults of [pg.Config].
type VaultConfig struct {
	Program          string // shown in pg_stat_activity, after "cloakroom "
	NoKEK            bool   // it unwraps nothing: no KEK is needed
	Role             string // SET ROLE at connect; empty: stay the login
	StatementTimeout time.Duration
	LockTimeout      time.Duration
	MaxConns         int
}

// Open opens the vault. It connects at the first use. The second result closes it.
func (f *VaultFlags) Open(ctx context.Context, c VaultConfig) (*keys.Vault, func(), error) {
	v := &keys.Vault{}
	var err error
	if !c.NoKEK {
		if v.KEK, err = kek.Open(ctx, f.KEKs); err != nil {
			return nil, nil, err
		}
	}
	if v.DB, err = f.OpenDB(c); err != nil {
		return nil, nil, err
	}
	return v, func() { v.DB.Close() }, nil
}

// OpenDB opens the vault's database alone.
func (f *VaultFlags) OpenDB(c VaultConfig) (*sqlx.DB, error) { return openDB(f.DatabaseURL, c) }

// OpenDBAt opens a database at another URL than --database-url.
func OpenDBAt(url string, c VaultConfig) (*sqlx.DB, error) { return openDB(url, c) }

// URL is the configured database, for what connects by itself.
func (f *VaultFlags) URL() (string, error) {
	if f.DatabaseURL == "" {
		return "", errors.New("no database is configured: set DATABASE_URL=postgres://USER@HOST/DATABASE")
	}
	return f.DatabaseURL, nil
}

func openDB(url string, c VaultConfig) (*sqlx.DB, error) {
	if url == "" {
		return nil, errors.New("no database is configured: set DATABASE_URL=postgres://USER@HOST/DATABASE")
	}
	return pg.Open(pg.Config{
		URL: url, ApplicationName: strings.TrimSpace("cloakroom " + c.Program), StatementTimeout: c.StatementTimeout,
		LockTimeout: c.LockTimeout, MaxConns: c.MaxConns, Role: c.Role,
	})
}
