package keys_test

import (
	"os"
	"testing"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// A dataset is applied once: its table, views and partitions are there, analysts may read its view, and the definition comes
// back from the vault as it went in.
func TestApplyDataset(t *testing.T) {
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
	for n, want := range []keys.Applied{{Revision: 1, Changed: true}, {}} {
		got, err := keys.ApplyDataset(t.Context(), env.URL(""), order)
		if err != nil || got != want {
			t.Fatalf("apply %d: %+v, %v, want %+v", n, got, err, want)
		}
	}
	v := env.Vault(t, env.As(t, "ingest", "ingest"))
	list, err := v.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	back, err := list.Find(order.Name)
	if err != nil || back.Hash() != order.Hash() {
		t.Errorf("%v, %v: not what was applied", back, err)
	}
	if _, err := list.Find(""); err == nil {
		t.Error("one of two datasets was found without a name")
	}
	analyst := env.Pool(t, env.As(t, "analyst", "analyst"))
	for _, view := range []string{order.Table, order.DuplicatesView(), "user_logins", "user_logins_duplicates"} {
		var n int
		if err := analyst.Get(&n, `SELECT count(*) FROM public.`+view); err != nil {
			t.Errorf("an analyst reads %s: %v", view, err)
		}
	}
}
