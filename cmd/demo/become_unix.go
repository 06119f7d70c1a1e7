//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// become runs the binary in this process's place, so that signals and the exit code are its own.
func become(binary string) error {
	args := append([]string{"demo"}, os.Args[1:]...)
	return fmt.Errorf("starting %s: %w", binary, syscall.Exec(binary, args, os.Environ()))
}
