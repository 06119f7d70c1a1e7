// Command demo shows the whole product on one machine with nothing installed but Go: a queue, a KMS and a Postgres of
// its own; events in, sealed rows, one value recovered, every key rotated, everything verified.
package main

import (
	"os"

	"cloakroom/internal/cli"
)

func main() {
	os.Exit(cli.Main(newDemoCommand()))
}
