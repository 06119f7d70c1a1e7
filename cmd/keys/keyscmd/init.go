package keyscmd

import (
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

The login needs CREATEROLE and must own the database; it need not be superuser.`,
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
		for _, note := range set.Notes() {
			cli.Note(cmd, "note: %s", note)
		}
		return nil
	}
	return cmd
}
