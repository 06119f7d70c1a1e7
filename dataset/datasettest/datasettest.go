// Package datasettest draws definitions of datasets, and events for them, for tests with rapid.
package datasettest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"cloakroom/dataset"
)

// Definition draws a valid definition as YAML, with keys in any order and defaults left out or not.
func Definition(t *rapid.T) string {
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
	// Names that are drawn have no upper case and no member's path is another's.
	if rapid.Bool().Draw(t, "time") {
		lines = append(lines, "time: own_time")
		members += "\n  - {name: own_time, from: Own.time, type: timestamp, required: true}"
		if rapid.Bool().Draw(t, "id") {
			lines = append(lines, "id: own_id")
			members += "\n  - {name: own_id, from: Own.id, type: uuid, required: true}"
		}
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

// Wild draws a JSON text: often one that some type takes, sometimes broken.
func Wild(t *rapid.T, _ *dataset.Member) string {
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

// Event draws an event for a definition: its members where they belong, some left out. value draws a member's.
func Event(t *rapid.T, d *dataset.Dataset, value func(t *rapid.T, m *dataset.Member) string) []byte {
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
		objects[parent] = append(objects[parent], string(name)+":"+value(t, &d.Members[i]))
	}
	parts := objects[""]
	for _, name := range order {
		quoted, _ := jsontext.AppendQuote(nil, name)
		parts = append(parts, string(quoted)+":{"+strings.Join(objects[name], ",")+"}")
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

// Plausible draws values that mostly are what their member takes, of today. Protected texts and JSON carry the canary
// where it fits, and nothing in clear does.
func Plausible(canary string) func(t *rapid.T, m *dataset.Member) string {
	return func(t *rapid.T, m *dataset.Member) string {
		if rapid.IntRange(0, 9).Draw(t, "wild") == 0 {
			return Wild(t, m)
		}
		n := rapid.IntRange(0, 9999).Draw(t, "n")
		switch m.Type {
		case dataset.Text:
			text := rapid.StringMatching(`[ -~äß€\\\t\n]{1,12}`).Draw(t, "text")
			if m.Protect != nil {
				text = fmt.Sprintf("%s%04d@b%d.example", canary, n, n%3)
			}
			if r := []rune(text); len(r) > m.Max {
				text = string(r[:m.Max])
			}
			quoted, _ := jsontext.AppendQuote(nil, text)
			return string(quoted)
		case dataset.Integer:
			return fmt.Sprint(n%11 - 5)
		case dataset.Decimal:
			return fmt.Sprint(n % 10)
		case dataset.Boolean:
			return fmt.Sprint(n%2 == 0)
		case dataset.Date:
			return fmt.Sprintf(`"19%02d-02-%02d"`, n%100, 1+n%28)
		case dataset.Timestamp:
			at := time.Now().UTC().Add(-time.Duration(n) * 10 * time.Second)
			return fmt.Sprintf("%q", at.Format(time.RFC3339Nano))
		case dataset.UUID:
			return fmt.Sprintf(`"%08x-0000-4000-8000-%012x"`, n, rapid.Uint32().Draw(t, "uuid"))
		case dataset.IP:
			return fmt.Sprintf(`"198.51.%d.%d"`, n%200, n%250)
		case dataset.JSON:
			if m.Protect != nil {
				return fmt.Sprintf(`{"k":[%q,%d]}`, canary, n)
			}
			return fmt.Sprintf(`{"k":[%d]}`, n)
		}
		return fmt.Sprintf(`"%d.%d.%d"`, n%9, n%99, n%7) // a version
	}
}
