//go:build !unix

package main

import (
	"errors"
	"os"
	"os/exec"
)

// become runs the binary and ends with its exit code.
func become(binary string) error {
	cmd := exec.Command(binary, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return err
}
