package keyscmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

func newInitCommand(vault *cli.VaultFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make or update schema, roles and the first index key; safe to run again",
		Long: `Make or update schema, roles and the first index key; safe to run again, and from two places at
once.

The login needs CREATEROLE and must own the database; it need not be superuser. CONNECT and TEMPORARY
on the database are taken from PUBLIC: logins of other applications need a GRANT CONNECT of their own.`,
		Example: "  keys init\n  keys init --print-sql > cloakroom.sql",
		Args:    cli.Args(),
	}
	var printSQL, downgrade bool
	f := cli.Of(cmd)
	f.Bool(&printSQL, "print-sql", "print the SQL and do nothing")
	f.Bool(&downgrade, "downgrade", "put this program's API functions in the place of a newer program's; logged")
	f.Excludes("print-sql", "downgrade")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if printSQL {
			text, err := pg.SQL()
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		}
		url, err := vault.URL()
		if err != nil {
			return err
		}
		set, err := kek.Open(cmd.Context(), vault.KEKs)
		if err != nil {
			return err
		}
		s, err := keys.InitWith(cmd.Context(), url, set, pg.MigrateOptions{Downgrade: downgrade})
		if err != nil {
			return err
		}
		cli.Printf(cmd.OutOrStdout(), "vault %s is ready (epoch %d)\n", s.ID, s.Epoch)
		notes, err := exposure(cmd.Context(), url)
		for _, note := range append(set.Notes(), notes...) {
			cli.Note(cmd, "note: %s", note)
		}
		return err
	}
	return cmd
}

// exposure says what keys init could not take from everybody.
func exposure(ctx context.Context, url string) ([]string, error) {
	db, err := pg.Open(pg.Config{URL: url, ApplicationName: "cloakroom init", MaxConns: 1})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return pg.Exposure(ctx, db)
}
