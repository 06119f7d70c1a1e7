package etl_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"cloakroom/keys/keystest"
)

// The code, its documentation and the table's CHECK list the same reasons.
func TestReasonsAgree(t *testing.T) {
	t.Parallel()
	code := reasonConstants(t)
	if len(code) < 14 {
		t.Fatalf("only %d reasons in reason.go: %v", len(code), code)
	}

	text, err := os.ReadFile("../docs/rejections.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, match[1])
	}
	slices.Sort(documented)
	if !slices.Equal(code, documented) {
		t.Errorf("reason.go has\n%v, docs/rejections.md\n%v", code, documented)
	}

	var check string
	if err := keystest.New(t).Open(t, "").Get(&check, `
		SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'cloakroom.rejections'::regclass AND conname = 'rejections_reason_check'`); err != nil {
		t.Fatal(err)
	}
	var allowed []string
	for _, match := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(check, -1) {
		allowed = append(allowed, match[1])
	}
	slices.Sort(allowed)
	if !slices.Equal(code, allowed) {
		t.Errorf("reason.go has\n%v, the table's CHECK\n%v", code, allowed)
	}
}

// reasonConstants reads the constants of type Reason from reason.go, sorted.
func reasonConstants(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Reason" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, value)
		}
		return true
	})
	slices.Sort(out)
	return out
}
