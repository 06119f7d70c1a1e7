package keyscmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
)

func newInitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make or update schema, roles and the first index key; safe to run again",
		Long: `Make or update schema, roles and the first index key; safe to run again, and from two places at once.

The login needs CREATEROLE and must own the database; it need not be superuser.`,
		Args: cobra.NoArgs,
	}
	printSQL := cmd.Flags().Bool("print-sql", false, "print the SQL and do nothing")
	downgrade := cmd.Flags().Bool("downgrade", false, "put this program's API functions in the place of a newer program's; logged")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *printSQL {
			text, err := pg.SQL()
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		}
		url, err := cli.DatabaseURL(cmd)
		if err != nil {
			return err
		}
		set, err := kek.Open(cmd.Context(), cli.Value(cmd, "kek"))
		if err != nil {
			return err
		}
		s, err := keys.InitWith(cmd.Context(), url, set, pg.MigrateOptions{Downgrade: *downgrade})
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "vault %s is ready (epoch %d)\n", s.ID, s.Epoch)
		for _, note := range set.Notes() {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", note)
		}
		return nil
	}
	return cmd
}
