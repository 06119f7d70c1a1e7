//go:build !unix

package cli

func denyCoreDumps() {}
