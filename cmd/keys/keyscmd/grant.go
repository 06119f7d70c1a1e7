package keyscmd

import (
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

func newGrantCommand(vault *cli.VaultFlags) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "grant LOGIN --role ROLE",
		Short: "Give a login one of cloakroom's roles",
		Long: `Give a login one of cloakroom's roles: ` + strings.Join(keys.Roles, ", ") + `.

Every person and every daemon has a login of its own. A login that would both hold the index key and
read tokens is refused: together they give back every address behind the tokens.`,
		Example: `  keys grant alice --role auditor
  keys grant ingest_daemon --role ingest`,
		Args: cli.Args("LOGIN"),
	}
	f := cli.Of(cmd)
	f.OneOf(&role, "role", "", keys.Roles, "the role")
	f.Require("role")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		url, err := vault.URL()
		if err != nil {
			return err
		}
		if err := keys.Grant(cmd.Context(), url, args[0], role); err != nil {
			return err
		}
		cli.Printf(cmd.OutOrStdout(), "%s holds %s\n", args[0], role)
		return nil
	}
	return cmd
}
