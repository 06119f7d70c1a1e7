package keyscmd

import (
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

// countTimeout bounds a statement: that nothing is left is counted in one, over the whole table.
const countTimeout = 15 * time.Minute

// openVault opens the vault of the configured database with the configured KEKs. The second result closes it.
func openVault(cmd *cobra.Command) (*keys.Vault, func(), error) {
	url, err := cli.DatabaseURL(cmd)
	if err != nil {
		return nil, nil, err
	}
	set, err := kek.Open(cmd.Context(), cli.Value(cmd, "kek"))
	if err != nil {
		return nil, nil, err
	}
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom keys", StatementTimeout: countTimeout})
	if err != nil {
		return nil, nil, err
	}
	return &keys.Vault{DB: db, KEK: set}, func() { db.Close() }, nil
}
