// Package corpus finds the real input that tests read: data that nobody on this project wrote, kept beside the checkout
// in ../shared/data and not copied into it. Tests skip, saying so, where it is absent.
package corpus

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Path is the path of one of the data, for instance "blns/blns.json".
func Path(t testing.TB, name string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "..", "shared", "data", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the data are not beside the checkout: %v", err)
	}
	return path
}

// Root is the checkout's root: the directory of go.mod, here or above.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("there is no go.mod here or above")
		}
		dir = parent
	}
}
