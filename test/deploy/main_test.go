package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"cloakroom/test/corpus"
)

// programs are what the image holds.
var programs = []string{"ingest", "keys", "recover", "demo"}

// root is the checkout's, bin where the programs are built.
var root, bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cloakroom-deploytest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if root, err = corpus.Root(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	// The demo is one binary that is all four.
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "demo"), "./cmd/demo/walkthrough")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	for _, p := range programs[:3] {
		if err := os.Link(filepath.Join(bin, "demo"), filepath.Join(bin, p)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// program runs one of the programs in an environment of nothing but env.
func program(t *testing.T, env []string, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Env = append([]string{}, env...) // nil would be our own
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// help is what a command says of itself: its flags, and its subcommands.
type help struct {
	flags    map[string]bool
	commands map[string]bool
}

var (
	helpLock sync.Mutex
	helps    = map[string]help{}

	flagLine    = regexp.MustCompile(`(?m)^ +(?:-\w, |    )--([a-z][a-z0-9-]*)`)
	commandLine = regexp.MustCompile(`(?m)^  ([a-z]+) {2,}\S`)
)

// helpOf asks a command for its help; ok is false where there is no such command.
func helpOf(t *testing.T, name string, sub ...string) (h help, ok bool) {
	t.Helper()
	helpLock.Lock()
	defer helpLock.Unlock()
	key := strings.Join(append([]string{name}, sub...), " ")
	if h, ok = helps[key]; ok {
		return h, true
	}
	text, _, err := program(t, nil, name, append(sub, "--help")...)
	// An unknown subcommand shows its parent's help: the usage line tells.
	if err != nil || !regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(key)+`( |$)`).MatchString(text) {
		return help{}, false
	}
	h = help{flags: map[string]bool{}, commands: map[string]bool{}}
	for _, m := range flagLine.FindAllStringSubmatch(text, -1) {
		h.flags[m[1]] = true
	}
	if _, list, found := strings.Cut(text, "Available Commands:"); found {
		list, _, _ = strings.Cut(list, "\nFlags:")
		for _, m := range commandLine.FindAllStringSubmatch(list, -1) {
			h.commands[m[1]] = true
		}
	}
	helps[key] = h
	return h, true
}

// checkCommand holds a command line, without the shell's doings, to the programs: the command exists and knows its
// flags.
func checkCommand(t *testing.T, where string, args []string) {
	t.Helper()
	name := filepath.Base(args[0])
	h, ok := helpOf(t, name)
	if !ok {
		t.Errorf("%s: there is no program %s", where, name)
		return
	}
	var path []string
	rest := args[1:]
	for len(rest) > 0 && h.commands[rest[0]] {
		path = append(path, rest[0])
		rest = rest[1:]
		if h, ok = helpOf(t, name, path...); !ok {
			t.Errorf("%s: %s %s has no help", where, name, strings.Join(path, " "))
			return
		}
	}
	if len(h.commands) > 0 && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		t.Errorf("%s: %s has no command %s", where, strings.Join(append([]string{name}, path...), " "), rest[0])
	}
	for _, arg := range rest {
		flag, isFlag := strings.CutPrefix(arg, "--")
		flag, _, _ = strings.Cut(flag, "=")
		if isFlag && flag != "" && flag != "help" && !h.flags[flag] {
			t.Errorf("%s: %s does not know --%s", where, strings.Join(append([]string{name}, path...), " "), flag)
		}
	}
}

// knownVariable reports whether a command takes an environment variable: its own flags', DATABASE_URL, and the AWS
// SDK's.
func knownVariable(h help, name string) bool {
	switch name {
	case "DATABASE_URL":
		return h.flags["database-url"]
	case "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_KMS":
		return true
	}
	flag, ours := strings.CutPrefix(name, "CLOAKROOM_")
	return ours && h.flags[strings.ToLower(strings.ReplaceAll(flag, "_", "-"))]
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
