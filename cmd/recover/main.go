// Command recover is the auditors' counter: ask for a value, have it approved, open it, and prove afterwards who saw what.
package main

import (
	"os"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

func main() {
	os.Exit(cli.Main(newRoot(), recovery.ExitCode))
}
