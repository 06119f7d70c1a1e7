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

	// The table takes codes that a later program may have. That it takes these is all that counts.
	db := keystest.New(t).Open(t, "")
	db.MustExec(`ALTER TABLE cloakroom.rejections DROP CONSTRAINT rejections_dataset_fkey`)
	for _, reason := range code {
		if _, err := db.Exec(`
			INSERT INTO cloakroom.rejections (message_id, sent, dataset, reason) VALUES (gen_random_uuid(), now(), 'any', $1)`, reason); err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
}
