package dataset_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cloakroom/dataset"
	"cloakroom/dataset/datasettest"
)

// Random valid definitions are read, say the same in canonical form, and plan nothing against themselves; whatever
// events come, decoding is total, and what is accepted has tokens.
func TestRandomDefinitions(t *testing.T) {
	t.Parallel()
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := datasettest.Definition(t)
		d, problems := dataset.Lint([]byte(text))
		if d == nil {
			t.Fatalf("%s\n%v", text, problems)
		}
		again, err := dataset.ParseCanonical(d.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, again); diff != "" || again.Hash() != d.Hash() {
			t.Fatalf("%s\n%s", text, diff)
		}
		// Canonical JSON is YAML, too, where no text needs a surrogate pair.
		if yaml, err := dataset.Parse(d.Canonical()); err != nil || yaml.Hash() != d.Hash() {
			t.Fatalf("%s: %v", d.Canonical(), err)
		}
		if e := dataset.Plan(d, again, 1); len(e.Changes) > 0 {
			t.Fatalf("%+v", e.Changes)
		}
		names := map[string]bool{}
		for _, c := range d.TableColumns([]uint32{1, 4_294_967_295}) {
			if len(c.Name) > 63 || names[c.Name] {
				t.Fatalf("column %s is too long, or there twice", c.Name)
			}
			names[c.Name] = true
		}
		dec, second := dataset.NewDecoder(d), dataset.NewDecoder(d)
		tok := tokeniserOf(d)
		for range 5 {
			body := datasettest.Event(t, d, datasettest.Wild)
			checkEvent(t, d, dec, second, tok, body)
			if _, rejection := dec.Decode(body); rejection.Reason == "" {
				accepted++
			}
		}
	})
	if accepted < 20 {
		t.Errorf("only %d events were accepted: this test proves little", accepted)
	}
}
