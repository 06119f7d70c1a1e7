// Command keys looks after the vault: schema and roles, key-encryption keys, status, verification, rotation.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

func main() {
	root := &cobra.Command{
		Use:   "keys",
		Short: "Look after cloakroom's vault",
		Long: `Look after cloakroom's vault: schema and roles, key-encryption keys, status, verification and rotation.

Exit codes: 0 done · 1 usage or other · 2 not finished, run again · 5 integrity · 6 key or KMS unavailable ·
8 database unavailable.`,
	}
	cli.AddVaultFlags(root)
	root.AddCommand(
		newInitCommand(), newGrantCommand(), newKEKCommand(),
		newStatusCommand(), newListCommand(), newVerifyCommand(),
		newRotateCommand(), newRewrapCommand(), newResealCommand(), newReindexCommand(), newRetireCommand(),
		newShredCommand(), newForgetCommand(), newPolicyCommand(),
	)
	os.Exit(cli.Main(root, keys.ExitCode))
}
