package recovercmd

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// wantNothingLeft wants a directory to be empty after a program was killed: at once if files can be
// made there without a name, else after the next run.
func wantNothingLeft(t *testing.T, dir string) {
	t.Helper()
	f, err := openUnnamed(dir, 0o600)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Log("there are no unnamed files here: what was left goes at the next run")
		removeAbandoned(dir)
	} else if err != nil {
		t.Fatal(err)
	} else {
		_ = f.Close()
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Both ways to make a file give it its name when it is whole, and never replace another.
func TestNewFile(t *testing.T) {
	for name, create := range map[string]func(string, os.FileMode) (*newFile, error){
		"unnamed if possible": createNewFile, "named": createNamed,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "values")
			f, err := create(path, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(path); err == nil {
				t.Error("it has its name before it is whole")
			}
			if _, err := f.WriteString("whole"); err != nil {
				t.Fatal(err)
			}
			if err := f.commit(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
			}
			if text, err := os.ReadFile(path); string(text) != "whole" {
				t.Errorf("it holds %q, %v", text, err)
			}

			taken := filepath.Join(dir, "taken")
			if f, err = create(taken, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(taken, []byte("another's"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := f.commit(); err == nil {
				t.Error("it replaced a file that appeared since")
			}
			f.discard()
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// The next run removes the temporary file of a run that was killed, and no other's.
func TestAbandonedFilesGo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("without file locks it goes by age")
	}
	dir := t.TempDir()
	alive, err := createNamed(filepath.Join(dir, "alive"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.discard()
	killed, err := createNamed(filepath.Join(dir, "killed"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_ = killed.Close() // what the kernel does for a killed process
	next, err := createNewFile(filepath.Join(dir, "next"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer next.discard()
	if _, err := os.Lstat(killed.Name()); err == nil {
		t.Error("the killed run's file is still there")
	}
	if err := alive.commit(); err != nil {
		t.Errorf("the running one's file is gone: %v", err)
	}
}
