package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"cloakroom/test/corpus"
)

// docs/dependencies.md has a row for every direct dependency of go.mod and for nothing else, and each row is filled in.
// What it says to be in tests or the demo alone is in no program.
func TestDependenciesAreExplained(t *testing.T) {
	root, err := corpus.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|(.*)\\|$").FindAllStringSubmatch(string(page), -1) {
		explained[m[1]] = strings.Split(m[2], " | ")
	}
	all := list(t)
	direct := map[string]bool{}
	for _, r := range mod.Require {
		if r.Indirect {
			continue
		}
		path := r.Mod.Path
		direct[path] = true
		cells, ok := explained[path]
		if !ok {
			t.Errorf("%s: docs/dependencies.md does not say what it is for", path)
			continue
		}
		if len(cells) != 4 {
			t.Errorf("%s: its row in docs/dependencies.md has %d cells after its name, want 4", path, len(cells))
			continue
		}
		for _, cell := range cells {
			if len(strings.TrimSpace(cell)) < 3 {
				t.Errorf("%s: its row in docs/dependencies.md has an empty cell", path)
			}
		}
		// The other way round, an entry of programs may be wrong about which program: that harms nobody.
		if where := strings.TrimSpace(cells[3]); where == "tests" || where == "demo, tests" {
			for _, program := range programs {
				for _, dep := range all[program].Deps {
					if under(dep, path) {
						t.Errorf("%s is in %s; docs/dependencies.md says it is in %s alone", path, program, where)
						break
					}
				}
			}
		}
	}
	for path := range explained {
		if !direct[path] {
			t.Errorf("docs/dependencies.md explains %s, which go.mod does not require directly", path)
		}
	}
	if len(direct) < 20 {
		t.Errorf("only %d direct dependencies were read from go.mod", len(direct))
	}
}
