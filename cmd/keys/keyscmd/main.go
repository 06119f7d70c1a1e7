// Package keyscmd is the program keys: one file a command. It is a package of its own so that cmd/demo, which is one
// binary, can run it under its name.
package keyscmd

import (
	"os"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
)

// Main runs the program and ends the process with its exit code.
func Main() { os.Exit(cli.Main(newRoot())) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "keys",
		Short: "Look after cloakroom's vault",
		Long:  `Look after cloakroom's vault: schema and roles, key-encryption keys, status, verification and rotation.`,
	}
	vault := cli.AddVault(root)
	root.AddCommand(
		newInitCommand(), newGrantCommand(vault), newKEKCommand(),
		newStatusCommand(vault), newListCommand(vault), newVerifyCommand(),
		newRotateCommand(), newRewrapCommand(), newResealCommand(), newReindexCommand(), newRetireCommand(),
		newShredCommand(), newForgetCommand(), newPolicyCommand(),
	)
	return root
}
