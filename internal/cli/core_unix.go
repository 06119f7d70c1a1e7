//go:build unix

package cli

import "golang.org/x/sys/unix"

// denyCoreDumps keeps key bytes out of core files. Where the limit cannot be set there is nothing more to do.
func denyCoreDumps() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
