package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// install makes a directory that claims to hold a version of Postgres.
func install(t *testing.T, dir, version string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho '%s'\n", version)
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A client program is found beside the server's, then on PATH, then in the newest of the usual places; where there is
// none, the error says what to install.
func TestFindClients(t *testing.T) {
	root := t.TempDir()
	places := usualPlaces
	t.Cleanup(func() { usualPlaces = places })
	usualPlaces = []string{filepath.Join(root, "usual", "*", "bin")}
	onPath := filepath.Join(root, "path")
	t.Setenv("PATH", onPath)
	b := binaries{dir: filepath.Join(root, "own")}
	_, err := b.client("psql")
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql-client") {
		t.Errorf("none: %v", err)
	}
	for _, dir := range []string{
		filepath.Join(root, "usual", "9", "bin"), filepath.Join(root, "usual", "16", "bin"), onPath, b.dir,
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		want := filepath.Join(dir, "psql")
		if err := os.WriteFile(want, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := b.client("psql"); err != nil || got != want {
			t.Errorf("found %s (%v), want %s", got, err, want)
		}
	}
}

func TestFindBinaries(t *testing.T) {
	root := t.TempDir()
	usual := func(major string) string { return filepath.Join(root, "usual", major, "bin") }
	install(t, usual("13"), "postgres (PostgreSQL) 13.20")
	install(t, usual("14"), "postgres (PostgreSQL) 14.1 (Debian 14.1-1)")
	install(t, usual("9"), "not what it seems")
	sixteen := install(t, usual("16"), "postgres (PostgreSQL) 16beta2")
	install(t, usual("99"), "postgres (PostgreSQL) 99.0")
	path := filepath.Join(root, "path")
	places := usualPlaces
	t.Cleanup(func() { usualPlaces = places })
	usualPlaces = []string{filepath.Join(root, "usual", "*", "bin")}
	t.Setenv("PATH", path)

	find := func(major int) string {
		t.Helper()
		b, err := findBinaries(t.Context(), major)
		if err != nil {
			t.Fatal(err)
		}
		return b.dir
	}
	if got := find(0); got != sixteen {
		t.Errorf("found %s, not the newest of those supported", got)
	}
	if got := find(14); got != usual("14") {
		t.Errorf("found %s for a cluster of version 14", got)
	}
	install(t, path, "postgres (PostgreSQL) 15.2")
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := find(0); got != real {
		t.Errorf("found %s, not the one on PATH", got)
	}

	if os.Geteuid() != 0 {
		return // an ordinary user would download
	}
	_, err = findBinaries(t.Context(), 17)
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("not one line: %v", err)
	}
	for _, want := range []string{"Postgres 17", "15 in " + real, "13 in ", "apt-get install postgresql", "brew install"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}
