package arch

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"cloakroom/test/corpus"
)

const module = "cloakroom"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Deps       []string
	Imports    []string
}

// list is go list -deps of the whole module: its packages, and all that they need.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	root, err := corpus.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Deps,Imports", "./...")
	cmd.Dir = root
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &errors)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	if len(ours(all)) < 15 {
		t.Fatalf("only %d packages of the module were listed", len(ours(all)))
	}
	return all
}

func ours(all map[string]pkg) []pkg {
	var out []pkg
	for _, p := range all {
		if under(p.ImportPath, module) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	return out
}

// under reports whether a path is a directory or lies below it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func underAny(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return under(path, dir) })
}

// layers says what the packages below a directory may need of the module, themselves aside. The longest directory that
// fits counts.
var layers = map[string][]string{
	"cloakroom/crypto":           {},
	"cloakroom/dataset":          {"cloakroom/crypto"},
	"cloakroom/keys":             {"cloakroom/crypto", "cloakroom/dataset", "cloakroom/internal"},
	"cloakroom/etl":              {"cloakroom/crypto", "cloakroom/dataset", "cloakroom/keys", "cloakroom/internal"},
	"cloakroom/recover":          {"cloakroom/crypto", "cloakroom/dataset", "cloakroom/keys", "cloakroom/internal"},
	"cloakroom/recover/auditlog": {"cloakroom/crypto", "cloakroom/internal"},
	"cloakroom/internal":         {},
	// What the programs share at the command line: it makes exit codes of the libraries' errors, and opens the vault.
	"cloakroom/internal/cli": {
		"cloakroom/crypto",
		"cloakroom/dataset",
		"cloakroom/keys",
		"cloakroom/recover",
		"cloakroom/internal",
	},
	"cloakroom/cmd": {
		"cloakroom/crypto", "cloakroom/dataset", "cloakroom/keys", "cloakroom/etl", "cloakroom/recover", "cloakroom/internal",
	},
	// What tests everything at once may need everything but the commands, which it runs as processes.
	"cloakroom/test": {
		"cloakroom/crypto", "cloakroom/dataset", "cloakroom/keys", "cloakroom/etl", "cloakroom/recover", "cloakroom/internal",
	},
}

func layerOf(path string) string {
	longest := ""
	for dir := range layers {
		if under(path, dir) && len(dir) > len(longest) {
			longest = dir
		}
	}
	return longest
}

// programs are the packages behind the commands of production.
var programs = []string{
	"cloakroom/cmd/ingest/ingestcmd",
	"cloakroom/cmd/keys/keyscmd",
	"cloakroom/cmd/recover/recovercmd",
}

func isProgram(path string) bool { return slices.Contains(programs, path) }

// isDemo: the demo is one binary that runs itself under the programs' names, so it links them all.
func isDemo(path string) bool { return path == "cloakroom/cmd/demo/walkthrough" }

func TestDependenciesPointOneWay(t *testing.T) {
	all := list(t)
	for _, p := range ours(all) {
		layer := layerOf(p.ImportPath)
		if layer == "" {
			t.Errorf("%s is in no layer: name it in layers, and in docs/design.md", p.ImportPath)
			continue
		}
		for _, dep := range p.Deps {
			if !under(dep, module) || underAny(dep, layers[layer]...) {
				continue
			}
			// Commands share nothing with each other but what the demo runs; below other directories, packages may
			// need their neighbours.
			if layer != "cloakroom/cmd" && under(dep, layer) {
				continue
			}
			if layer == "cloakroom/cmd" && (under(dep, p.ImportPath) || isDemo(p.ImportPath) && isProgram(dep)) {
				continue
			}
			t.Errorf("%s needs %s, which its layer may not (%s)", p.ImportPath, dep, layer)
		}
	}
}

// cryptography computes: bytes in, bytes out. No context, I/O, SQL or logging.
func TestCryptoIsPure(t *testing.T) {
	all := list(t)
	barred := []string{
		"context",
		"database/sql",
		"log",
		"net",
		"net/http",
		"os",
		"os/exec",
		"syscall",
		"time",
		"testing",
	}
	found := 0
	for _, p := range ours(all) {
		if !under(p.ImportPath, "cloakroom/crypto") {
			continue
		}
		found++
		for _, imported := range p.Imports {
			switch {
			case slices.Contains(barred, imported):
				t.Errorf("%s imports %s", p.ImportPath, imported)
			case all[imported].Standard, underAny(imported, "cloakroom/crypto", "golang.org/x/text"):
			default:
				t.Errorf("%s imports %s: the standard library and golang.org/x/text alone are allowed", p.ImportPath,
					imported)
			}
		}
	}
	if found < 2 {
		t.Errorf("%d packages below crypto", found)
	}
}

// TestAWSIsBehindDoors: the SDK is imported where KMS, SQS and S3 are spoken, and in the sandbox that stands in for them.
func TestAWSIsBehindDoors(t *testing.T) {
	doors := []string{
		"cloakroom/keys/kek", "cloakroom/internal/queue", "cloakroom/internal/objects", "cloakroom/internal/sandbox",
	}
	found := false
	for _, p := range ours(list(t)) {
		for _, imported := range p.Imports {
			// aws-lambda-go is no part of the SDK: it calls no service, and ingest is called through it.
			if !underAny(imported, "github.com/aws") || underAny(imported, "github.com/aws/aws-lambda-go") {
				continue
			}
			found = true
			if !underAny(p.ImportPath, doors...) {
				t.Errorf("%s imports %s: only %s may", p.ImportPath, imported, strings.Join(doors, ", "))
			}
		}
	}
	if !found {
		t.Error("nothing imports the SDK: this test proves nothing")
	}
}

// The sandbox, and what only tests need, stays out of the programs that run in production.
func TestProgramsAreLean(t *testing.T) {
	all := list(t)
	for _, name := range []string{"cloakroom/cmd/keys", "cloakroom/cmd/ingest", "cloakroom/cmd/recover"} {
		p, ok := all[name]
		if !ok {
			t.Errorf("there is no %s", name)
			continue
		}
		for _, dep := range p.Deps {
			if dep == "testing" || underAny(dep, "cloakroom/internal/sandbox") ||
				under(dep, module) && strings.HasSuffix(dep, "test") {
				t.Errorf("%s needs %s", name, dep)
			}
		}
	}
}
