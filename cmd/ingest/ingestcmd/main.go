// Package ingestcmd is the program ingest: its flags, its settings and what it prints. It is a
// package of its own so that cmd/demo, which is one binary, can run it under its name.
package ingestcmd

import (
	"os"

	"cloakroom/internal/cli"
)

// Main runs the program and ends the process with its exit code.
func Main() { os.Exit(cli.Main(newRoot())) }

// Describe lists the commands, for the reference page.
func Describe() []cli.Command { return cli.Describe(newRoot()) }
