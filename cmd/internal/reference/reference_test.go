package reference

import (
	"bytes"
	_ "embed"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"cloakroom/cmd/ingest/ingestcmd"
	"cloakroom/cmd/keys/keyscmd"
	"cloakroom/cmd/recover/recovercmd"
	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var update = flag.Bool("update", false, "write the page")

//go:embed reference.md.tmpl
var page string

// program is one of the programs: its first command is the program itself.
type program struct {
	Name, Short, Long string
	Shared            []cli.Flag
	Commands          []cli.Command
}

// facts are what the page is made of.
type facts struct {
	ExitCodes        any
	Programs         []program
	Policy           []keyscmd.PolicySetting
	Reasons          []described
	States           []described
	Ingest, Rotation []metric
	API              []function
}

// described is a word with what it means.
type described struct{ Name, Meaning string }

// The page is what the code makes of its template.
func TestReference(t *testing.T) {
	db := keystest.New(t).Open(t, "")
	policy, err := keys.ReadPolicy(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	f := facts{
		ExitCodes: cli.ExitCodes,
		Programs:  []program{programOf(ingestcmd.Describe()), programOf(keyscmd.Describe()), programOf(recovercmd.Describe())},
		Policy:    keyscmd.DescribePolicy(policy),
		Reasons:   reasons(t),
		States:    states(t),
		Ingest:    ingestMetrics(t),
		Rotation:  metricsOf(t, keyscmd.Metrics()),
		API:       api(t, db),
	}
	if len(f.Policy) < 10 || len(f.Ingest) < 10 || len(f.Rotation) < 5 || len(f.API) < 50 || len(f.States) < 5 {
		t.Fatalf("%d settings of the policy, %d and %d metrics, %d functions, %d SQLSTATEs: something was not found",
			len(f.Policy), len(f.Ingest), len(f.Rotation), len(f.API), len(f.States))
	}
	var made bytes.Buffer
	if err := template.Must(template.New("").Funcs(template.FuncMap{
		"cell": cell, "flags": flagTable, "anchor": anchor, "paragraph": paragraph, "text": text, "example": example,
	}).Parse(page)).Execute(&made, f); err != nil {
		t.Fatal(err)
	}

	const path = "../../../docs/reference.md"
	if *update {
		if err := os.WriteFile(path, made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stands, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stands, made.Bytes()) {
		t.Errorf("docs/reference.md is stale, first in this line:\n%s\nrun make generate", firstDifference(stands, made.Bytes()))
	}
}

func firstDifference(a, b []byte) string {
	lines := strings.Split(string(a), "\n")
	for i, line := range strings.Split(string(b), "\n") {
		if i >= len(lines) || lines[i] != line {
			return line
		}
	}
	return "(lines are left over at its end)"
}

func programOf(commands []cli.Command) program {
	root := commands[0]
	p := program{Name: root.Path, Short: root.Short, Long: root.Long, Shared: root.Shared, Commands: commands[1:]}
	if !root.Group {
		p.Commands = commands
	}
	for i := range commands[1:] { // what a command shares with those below it stands with it
		commands[i+1].Own = append(commands[i+1].Own, commands[i+1].Shared...)
	}
	return p
}

// reasons are the reason codes, with what the constants' comments say of them.
func reasons(t *testing.T) []described {
	t.Helper()
	meanings := map[string]string{}
	for _, c := range slices.Concat(
		constants(t, "../../../dataset"), constants(t, "../../../etl/unwrap"), constants(t, "../../../etl"),
	) {
		meanings[c.Name] = c.Meaning
	}
	var all []described
	for _, r := range etl.Reasons() {
		if meanings[string(r)] == "" {
			t.Errorf("the constant of the reason %s has no comment", r)
		}
		all = append(all, described{string(r), meanings[string(r)]})
	}
	return all
}

// states are the SQLSTATEs of our own functions.
func states(t *testing.T) []described {
	t.Helper()
	return slices.DeleteFunc(constants(t, "../../../internal/pg"), func(c described) bool {
		return !strings.HasPrefix(c.Name, "CR")
	})
}

// goName is a name of Go's in a comment, which readers of the page do not know.
var goName = regexp.MustCompile(` \(\w+\.\w+\)$`)

// constants are the values of a package's text constants that have a comment behind them.
func constants(t *testing.T, dir string) []described {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []described
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || spec.Comment == nil {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, described{value, goName.ReplaceAllString(strings.TrimSpace(spec.Comment.Text()), "")})
			}
			return true
		})
	}
	return all
}
