package recovercmd

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that docs/threat-model.md names is there; and every abuse that is tried is named
// there.
func TestThreatModelNamesTests(t *testing.T) {
	text, err := os.ReadFile("../../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("../../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(source), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]bool{}
	for _, a := range abuses {
		cases[strings.ReplaceAll(a.name, " ", "_")] = false
	}
	named := regexp.MustCompile("`(Test\\w+)?(?:/([^`]+))?`").FindAllStringSubmatch(string(text), -1)
	for _, m := range named {
		if m[1] != "" && !there[m[1]] {
			t.Errorf("there is no %s", m[1])
		}
		if m[2] == "" || m[1] != "" && m[1] != "TestAbuse" {
			continue
		}
		if _, ok := cases[m[2]]; !ok {
			t.Errorf("there is no TestAbuse/%s", m[2])
		}
		cases[m[2]] = true
	}
	for name, found := range cases {
		if !found {
			t.Errorf("TestAbuse/%s is not in the threat model", name)
		}
	}
}
