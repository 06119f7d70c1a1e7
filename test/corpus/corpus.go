// Package corpus finds the corpora that tests read: JSONTestSuite and the Big List of Naughty Strings. Nobody on this
// project wrote them, and they are not copied into it. They lie in the directory that CLOAKROOM_CORPUS names, or in
// ../shared/data beside the checkout. Where they are absent a test skips and says so; in continuous integration (CI is
// set) it fails, since there a test that never runs would go unnoticed. .ci/run fetches them.
package corpus

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Path is the path of a corpus or of a file in it, for instance "blns/blns.json".
func Path(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("CLOAKROOM_CORPUS")
	if dir == "" {
		root, err := Root()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(root, "..", "shared", "data")
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		if ci := os.Getenv("CI"); ci != "" && ci != "false" {
			t.Fatalf("finding a corpus: %v: in continuous integration it has to be there (.ci/run fetches it)", err)
		}
		t.Skipf("finding a corpus: %v: put it there, or name its directory in CLOAKROOM_CORPUS", err)
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
