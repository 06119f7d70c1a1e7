// Command walkthrough shows the whole product on one machine: events go through a queue, are sealed and stored; one
// value is recovered; every key is rotated; everything is verified. Queue, KMS and Postgres are its own and go with it.
//
// It is one binary that holds the three programs as well. It runs itself under their names, with the login, the access
// key and the settings that each would have, and prints what they print.
package main

import (
	"os"
	"path/filepath"

	"cloakroom/cmd/ingest/ingestcmd"
	"cloakroom/cmd/keys/keyscmd"
	"cloakroom/cmd/recover/recovercmd"
	"cloakroom/internal/cli"
)

// programs are what this binary is when it is started under their names.
var programs = map[string]func(){"ingest": ingestcmd.Main, "keys": keyscmd.Main, "recover": recovercmd.Main}

func main() {
	if program := programs[filepath.Base(os.Args[0])]; program != nil {
		program()
		return
	}
	os.Exit(cli.Main(newDemoCommand()))
}
