package keys_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// named is a relation or function of ours in a text.
var named = regexp.MustCompile(`\b(public|cloakroom|cloakroom_data)\.([a-z_]+)\b`)

// files are what documents name that looks like a relation of schema cloakroom and is a file.
var files = map[string]bool{"cloakroom.dump": true, "cloakroom.prom": true, "cloakroom.sql": true}

// A document names tables, views and functions that a vault has: with the built-in dataset and the orders that the
// documents show.
func TestDocumentsNameWhatTheDatabaseHas(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	text, err := os.ReadFile("../dataset/testdata/order.yaml")
	if err != nil {
		t.Fatal(err)
	}
	order, err := dataset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ApplyDataset(t.Context(), env.URL(""), order); err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := env.Open(t, "").Select(&list, `
		SELECT relnamespace::regnamespace || '.' || relname FROM pg_class
		UNION SELECT pronamespace::regnamespace || '.' || proname FROM pg_proc`); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, name := range list {
		there[name] = true
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range append(documents, "../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			n++
			if !there[name] && !files[name] {
				t.Errorf("%s names %s, which is not there", path, name)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d names were found", n)
	}
}
