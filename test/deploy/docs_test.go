package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shown are the documents whose transcripts are held to the programs, too: commands_test.go runs what stands in sh
// blocks.
var shown = []string{"README.md", "docs/auditors.md", "docs/operations.md", "docs/rotation.md", "docs/reference.md"}

var (
	prompt = regexp.MustCompile(`^[a-z]*\$ `)
	saying = regexp.MustCompile(`^(?:ingest|keys|recover)(?: [a-z]+)*: `) // a program's error in a transcript
)

// Every command of ours in a code block exists, and knows its flags.
func TestDocumentsShowCommandsThatThereAre(t *testing.T) {
	for _, path := range shown {
		n := 0
		inBlock := false
		text := strings.ReplaceAll(read(t, path), "\\\n", " ")
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "```") {
				inBlock = !inBlock
				continue
			}
			if !inBlock {
				continue
			}
			line = prompt.ReplaceAllString(line, "")
			if saying.MatchString(line) {
				continue
			}
			line, _, _ = strings.Cut(line, " #")
			for _, command := range regexp.MustCompile(`&&|;|\|`).Split(line, -1) {
				words := strings.Fields(command)
				// Settings before a command, and who runs it.
				for len(words) > 0 && (regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) || words[0] == "sudo") {
					words = words[1:]
				}
				if len(words) > 0 && slices.Contains(programs, words[0]) {
					checkCommand(t, path+": "+line, words)
					n++
				}
			}
		}
		if n < 5 {
			t.Errorf("%s: only %d commands were found", path, n)
		}
	}
}

// A document that names a file of the checkout names one that is there.
func TestDocumentsNameFilesThatThereAre(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	for _, path := range append(documents(t), "CHANGELOG.md") {
		for _, m := range link.FindAllStringSubmatch(read(t, path), -1) {
			dir := ""
			if i := strings.LastIndex(path, "/"); i >= 0 {
				dir = path[:i+1]
			}
			if _, err := os.Stat(filepath.Join(root, dir, m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// A table that names the test which holds an invariant names one that there is.
func TestDesignNamesTestsThatThereAre(t *testing.T) {
	declared := map[string]bool{}
	out, err := exec.Command("git", "-C", root, "grep", "-hoE", "--untracked", `^func Test[A-Za-z0-9_]+`, "--", "*_test.go").
		Output()
	if err != nil {
		t.Fatalf("the tests are looked for with git grep: run this in a git checkout: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		declared[strings.TrimPrefix(strings.TrimSpace(line), "func ")] = true
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(read(t, "docs/design.md"), -1)
	if len(named) < 30 {
		t.Fatalf("docs/design.md names only %d tests", len(named))
	}
	for _, m := range named {
		if !declared[m[1]] {
			t.Errorf("docs/design.md names %s, which is no test", m[1])
		}
	}
}
