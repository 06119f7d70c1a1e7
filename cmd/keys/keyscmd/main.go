// Package keyscmd is the program keys: one file a command. It is a package of its own so that
// cmd/demo, which is one binary, can run it under its name.
package keyscmd

import (
	"os"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
)

// Main runs the program and ends the process with its exit code.
func Main() { os.Exit(cli.Main(newRoot())) }

// Describe lists the commands, for the reference page.
func Describe() []cli.Command { return cli.Describe(newRoot()) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "keys",
		Short: "Look after cloakroom's vault",
		Long:  "Look after cloakroom's vault: schema and roles, key-encryption keys, policy, status, verification and rotation.",
		Example: `  keys kek generate /etc/cloakroom/kek
  keys init
  keys grant ingest_daemon --role ingest
  keys status
  keys rotate`,
	}
	v := cli.AddVault(root)
	root.AddCommand(
		newInitCommand(v), newGrantCommand(v), newRevokeCommand(v), newGrantsCommand(v), newKEKCommand(v), newPolicyCommand(v),
		newStatusCommand(v), newListCommand(v), newVerifyCommand(v), newDatasetCommand(v),
		newRotateCommand(v), newRewrapCommand(v), newResealCommand(v), newReindexCommand(v), newRetireCommand(v),
		newShredCommand(v), newForgetCommand(v),
	)
	return root
}
