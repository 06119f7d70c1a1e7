// Command ingest takes login events off a queue, or from a file, seals what is personal in them and writes rows.
package main

import (
	"os"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

func main() {
	os.Exit(cli.Main(newIngestCommand(), keys.ExitCode))
}
