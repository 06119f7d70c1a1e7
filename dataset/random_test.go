package dataset_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cloakroom/dataset"
)

// definition draws a valid definition as YAML, with keys in any order and defaults left out or not.
func definition(t *rapid.T) string {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]([a-z0-9]{0,5}|[a-z]_[a-z0-9]{1,3})`), 1, 8,
		rapid.ID[string]).Filter(func(names []string) bool {
		for _, n := range names {
			if n == "body" || n == "sent" || n == "oid" || n == "ctid" || slices.Contains([]string{"xmin", "xmax",
				"cmin", "cmax"}, n) || slices.Contains(names, n+"_text") {
				return false
			}
		}
		return true
	}).Draw(t, "names")
	lines := []string{"dataset: " + names[0], "table: t_" + names[0]}
	if rapid.Bool().Draw(t, "daily") {
		lines = append(lines, "partition: day")
	}
	members := "members:"
	subject := ""
	for i, name := range names {
		kind := rapid.SampledFrom([]string{"text", "integer", "decimal", "boolean", "date", "timestamp", "uuid", "ip",
			"json", "version"}).Draw(t, "type")
		keys := []string{"name: " + name, "type: " + kind}
		switch kind {
		case "text":
			keys = append(keys, fmt.Sprintf("max: %d", rapid.IntRange(1, 400).Draw(t, "max")))
		case "version":
			keys = append(keys, "max: 20")
		case "decimal":
			scale := rapid.IntRange(0, 5).Draw(t, "scale")
			keys = append(keys, fmt.Sprintf("precision: %d", scale+rapid.IntRange(1, 9).Draw(t, "whole")),
				fmt.Sprintf("scale: %d", scale))
		case "integer":
			if rapid.Bool().Draw(t, "bounds") {
				keys = append(keys, "min: -5", "max: 5")
			}
		}
		if rapid.Bool().Draw(t, "required") {
			keys = append(keys, "required: true")
		}
		// The objects around members have names that no member can have: no two paths overlap.
		switch rapid.IntRange(0, 3).Draw(t, "from") {
		case 0:
			keys = append(keys, fmt.Sprintf("from: O%d.%s", i%2, name))
		case 1:
			keys = append(keys, fmt.Sprintf("from: '/p.q/%s~1x'", name))
		}
		switch {
		case kind == "version":
		case rapid.Bool().Draw(t, "protect"):
			keys = append(keys, "protect: "+protection(t, kind))
		case subject == "" && (kind == "text" || kind == "uuid" || kind == "integer"):
			subject = name
			lines = append(lines, "subject: "+name)
		}
		members += "\n  - {" + strings.Join(rapid.Permutation(keys).Draw(t, "order"), ", ") + "}"
	}
	return strings.Join(rapid.Permutation(append(lines, members)).Draw(t, "lines"), "\n") + "\n"
}

func protection(t *rapid.T, kind string) string {
	var keys []string
	indexes, reveals := []string{"exact"}, []string{}
	switch kind {
	case "json":
		return "{index: []}"
	case "ip":
		indexes, reveals = append(indexes, "prefix/24", "prefix/16"), []string{"network"}
	case "text":
		steps := rapid.SampledFrom([]string{"[text]", "trim", "[trim, casefold]", "[alnum]", "[casefold, digits]",
			"[digits]"}).Draw(t, "steps")
		keys = append(keys, "normalise: "+steps)
		indexes, reveals = append(indexes, "prefix/3", "last/4"), []string{"last4"}
		if !strings.Contains(steps, "digits") && !strings.Contains(steps, "alnum") {
			indexes, reveals = append(indexes, "domain"), append(reveals, "domain")
		}
	}
	if rapid.Bool().Draw(t, "index") {
		keys = append(keys, "index: ["+strings.Join(rapid.SliceOfDistinct(rapid.SampledFrom(indexes),
			rapid.ID[string]).Draw(t, "indexes"), ", ")+"]")
	}
	if len(reveals) > 0 && rapid.Bool().Draw(t, "reveal") {
		keys = append(keys, "reveal: "+rapid.SampledFrom(reveals).Draw(t, "form"))
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// jsonValue draws a JSON text: often one that some type takes, sometimes broken.
func jsonValue(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "value") {
	case 0, 1, 2:
		text, err := jsontext.AppendQuote(nil, rapid.String().Draw(t, "text"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	case 3:
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?`).Draw(t, "number")
	case 4:
		return rapid.SampledFrom([]string{`"2026-02-28"`, `"2026-02-28T10:00:00.5+01:00"`, `"203.0.113.9"`,
			`"2001:db8::1"`, `"6f1c8e0a3b524d179a405c2e7d9b1f08"`, `"a@b.example"`}).Draw(t, "good")
	case 5:
		return rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "word")
	case 6:
		return rapid.StringMatching(`"[0-9a-fTZ.:+\-]{0,36}"`).Draw(t, "nearly")
	case 7:
		return rapid.SampledFrom([]string{`[1,{"a":"\u0000"}]`, `{}`, `[]`, `{"x":[1e9]}`}).Draw(t, "nested")
	case 8:
		return rapid.SampledFrom([]string{`"\u0000"`, `"\ud800"`, "\"\xff\"", "01", "nul"}).Draw(t, "bad")
	}
	return rapid.String().Draw(t, "anything")
}

// event draws an event for a definition: its members where they belong, some left out, some twice.
func event(t *rapid.T, d *dataset.Dataset) []byte {
	objects := map[string][]string{}
	var order []string
	for i := range d.Members {
		path := d.Members[i].Path
		if rapid.IntRange(0, 9).Draw(t, "leave") == 0 {
			continue
		}
		name, _ := jsontext.AppendQuote(nil, path[len(path)-1])
		parent := ""
		if len(path) > 1 {
			parent = path[0]
			if objects[parent] == nil {
				order = append(order, parent)
			}
		}
		objects[parent] = append(objects[parent], string(name)+":"+jsonValue(t))
	}
	parts := objects[""]
	for _, name := range order {
		quoted, _ := jsontext.AppendQuote(nil, name)
		parts = append(parts, string(quoted)+":{"+strings.Join(objects[name], ",")+"}")
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

// Random valid definitions are read, say the same in canonical form, and plan nothing against themselves; whatever
// events come, decoding is total, and what is accepted has tokens.
func TestRandomDefinitions(t *testing.T) {
	t.Parallel()
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := definition(t)
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
			body := event(t, d)
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
