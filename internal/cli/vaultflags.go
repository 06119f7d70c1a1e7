package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// AddVaultFlags adds --database-url and --kek to a program.
func AddVaultFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.String("database-url", "", "Postgres, postgres://USER@HOST/DB?sslmode=verify-full (DATABASE_URL); a password is better kept in the environment or a file")
	MarkSecret(flags, "database-url")
	flags.String("kek", "", "KEK that wraps new keys, awskms:///alias/NAME or file:///PATH; after a comma, others that may still unwrap")
}

// DatabaseURL is the configured database.
func DatabaseURL(cmd *cobra.Command) (string, error) {
	url := Value(cmd, "database-url")
	if url == "" {
		return "", Exit(1, errors.New("no database is configured: set DATABASE_URL=postgres://USER@HOST/DATABASE"))
	}
	return url, nil
}
