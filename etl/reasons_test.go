package etl_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"cloakroom/etl"
	"cloakroom/keys/keystest"
)

// The code, its documentation and the table's CHECK list the same reasons.
func TestReasonsAgree(t *testing.T) {
	t.Parallel()
	var code []string
	for _, reason := range etl.Reasons() {
		code = append(code, string(reason))
	}
	slices.Sort(code)
	if len(code) < 14 {
		t.Fatalf("only %d reasons: %v", len(code), code)
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
		t.Errorf("the code has\n%v, docs/rejections.md\n%v", code, documented)
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
		t.Errorf("the code has\n%v, the table's CHECK\n%v", code, allowed)
	}
}
