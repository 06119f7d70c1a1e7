// Command demo builds and runs cmd/demo/walkthrough, which shows the whole product on one machine.
//
// It needs the standard library alone, so "go run ./cmd/demo" starts it within seconds and it can say what takes so
// long: the first build compiles the AWS SDK, the Postgres driver and all of cloakroom, silently.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	path, root, _ := strings.Cut(strings.TrimSpace(string(module)), " ")
	if err != nil || path != "cloakroom" {
		return fmt.Errorf("run it in cloakroom's checkout, as go run ./cmd/demo")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	binary := filepath.Join(cache, "cloakroom", "demo")
	if _, err := os.Stat(binary); err != nil {
		fmt.Fprintln(os.Stderr, "compiling cloakroom: a minute or two the first time, a second later on …")
	} else {
		fmt.Fprintln(os.Stderr, "compiling cloakroom …")
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "./cmd/demo/walkthrough")
	build.Dir = root
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("compiling cloakroom: %w", err)
	}
	return become(binary)
}
