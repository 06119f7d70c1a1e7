package keyscmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

func newGrantCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "grant LOGIN --role ROLE",
		Short: "Give a login one of cloakroom's roles",
		Long: `Give a login one of cloakroom's roles: ` + strings.Join(keys.Roles, ", ") + `.

Every person and every daemon has a login of its own. A login that would both hold the index key and read tokens is
refused: together they give back every address behind the tokens.`,
		Args: cobra.ExactArgs(1),
	}
	role := cmd.Flags().String("role", "", "the role: "+strings.Join(keys.Roles, ", "))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *role == "" {
			return fmt.Errorf("name the role: --role %s", strings.Join(keys.Roles, "|"))
		}
		url, err := cli.DatabaseURL(cmd)
		if err != nil {
			return err
		}
		if err := keys.Grant(cmd.Context(), url, args[0], *role); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s holds %s\n", args[0], *role)
		return err
	}
	return cmd
}
