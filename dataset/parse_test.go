package dataset_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloakroom/dataset"
)

const small = `dataset: parcel
table: parcels
subject: owner
members:
  - {name: owner, type: text, max: 10, required: true}
  - {name: firmware, type: version, max: 12}
  - name: serial
    type: text
    max: 20
    protect: {normalise: [digits], pad: 16}
`

func order(t testing.TB) *dataset.Dataset {
	t.Helper()
	text, err := os.ReadFile("testdata/order.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

func parse(t testing.TB, text string) *dataset.Dataset {
	t.Helper()
	d, err := dataset.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParse(t *testing.T) {
	t.Parallel()
	d := parse(t, small)
	if d.SubjectIndex() != 0 || len(d.Protected()) != 1 || d.Protected()[0].Name != "serial" || d.Partition != dataset.Monthly {
		t.Errorf("%+v", d)
	}
	want := []string{"sent", "row_id", "create_date", "owner", "firmware", "firmware_text", "sealed_serial",
		"masked_serial_v3", "masked_serial_v4", "data_key"}
	var got []string
	for _, c := range d.TableColumns([]uint32{3, 4}) {
		got = append(got, c.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("columns %v, want %v", got, want)
	}
	if _, ok := d.Member("Serial"); ok {
		t.Error("a member was found under another spelling")
	}
}

// Each mistake has its code and its place.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		old, new, code string
		line, column   int
	}{
		"unknown key":               {"subject: owner", "subject: owner\ncolour: red", "unknown_key", 4, 1},
		"unknown key of a member":   {"max: 20", "max: 20\n    unique: true", "unknown_key", 10, 5},
		"unknown key of protection": {"pad: 16", "pad: 16, key: 1", "unknown_key", 10, 45},
		"key twice":                 {"subject: owner", "subject: owner\nsubject: serial", "duplicate_key", 4, 1},
		"not YAML":                  {"members:", "members: [", "yaml", 4, 1},
		"two documents":             {"dataset: parcel", "a: b\n---\ndataset: parcel", "yaml", 2, 1},
		"not a mapping":             {small, "[dataset]", "not_mapping", 1, 1},
		"empty":                     {small, " ", "yaml", 1, 1},
		"not UTF-8":                 {"parcels", "\xff", "yaml", 1, 1},
		"alias": {"{name: firmware, type: version, max: 12}",
			"&a {name: firmware, type: version, max: 12}\n  - *a", "alias", 6, 5},
		"name with a quote":         {"name: serial", `name: "se\"rial"`, "name", 7, 11},
		"name with a capital":       {"name: serial", "name: Serial", "name", 7, 11},
		"name too long":             {"name: serial", "name: " + strings.Repeat("s", 33), "name_length", 7, 11},
		"name with two _":           {"name: serial", "name: a__b", "name_reserved", 7, 11},
		"name with _ at its end":    {"name: serial", "name: a_", "name_reserved", 7, 11},
		"name of a sealed column":   {"name: serial", "name: sealed_x", "name_reserved", 7, 11},
		"name of a token column":    {"name: serial", "name: masked_x", "name_reserved", 7, 11},
		"name of a system column":   {"name: serial", "name: create_date", "name_reserved", 7, 11},
		"name of Postgres's own":    {"name: serial", "name: xmin", "name_reserved", 7, 11},
		"name of a text column":     {"name: serial", "name: firmware_text", "name_taken", 7, 11},
		"table that is no name":     {"table: parcels", "table: parcels;", "name", 2, 8},
		"table too long":            {"table: parcels", "table: " + strings.Repeat("p", 41), "name_length", 2, 8},
		"table of duplicates":       {"table: parcels", "table: a_duplicates", "name_reserved", 2, 8},
		"table like a partition":    {"table: parcels", "table: a_2026_01", "name_reserved", 2, 8},
		"partition":                 {"subject: owner", "subject: owner\npartition: week", "partition", 4, 12},
		"no dataset":                {"dataset: parcel\n", "", "missing_key", 1, 1},
		"dataset null":              {"dataset: parcel", "dataset: ~", "not_text", 1, 10},
		"member twice":              {"name: firmware", "name: owner", "name_taken", 6, 12},
		"type":                      {"type: version", "type: float", "type", 6, 28},
		"no type":                   {"    type: text\n", "", "missing_key", 7, 5},
		"no max":                    {"    max: 20\n", "", "range", 7, 5},
		"max 0":                     {"max: 20", "max: 0", "range", 9, 10},
		"max negative":              {"max: 20", "max: -1", "range", 9, 10},
		"max huge":                  {"max: 20", "max: 100001", "range", 9, 10},
		"max no number":             {"max: 20", "max: many", "not_integer", 9, 10},
		"max in octal":              {"max: 20", "max: 020", "not_integer", 9, 10},
		"max with _":                {"max: 20", "max: 2_0", "not_integer", 9, 10},
		"min above max":             {"max: 20", "max: 20\n    min: 21", "range", 10, 10},
		"required: yes":             {"required: true", "required: yes", "not_boolean", 5, 50},
		"precision of a text":       {"max: 20", "max: 20\n    precision: 3", "key_for_type", 10, 16},
		"protected version":         {"max: 12", "max: 12, protect: {}", "key_for_type", 6, 55},
		"empty enum":                {"max: 20", "max: 20\n    enum: []", "enum", 10, 11},
		"enum twice":                {"max: 20", "max: 20\n    enum: [a, a]", "enum", 10, 15},
		"enum of numbers":           {"max: 20", "max: 20\n    enum: [1]", "not_text", 10, 12},
		"enum is no list":           {"max: 20", "max: 20\n    enum: a", "not_list", 10, 11},
		"pattern":                   {"max: 20", "max: 20\n    pattern: 'a)(b'", "pattern", 10, 14},
		"look-around":               {"max: 20", "max: 20\n    pattern: '(?=a)'", "pattern", 10, 14},
		"path":                      {"max: 20", "max: 20\n    from: a..b", "from", 10, 11},
		"pointer":                   {"max: 20", "max: 20\n    from: /a~2", "from", 10, 11},
		"path twice":                {"max: 20", "max: 20\n    from: owner", "path_taken", 10, 11},
		"path within another":       {"max: 20", "max: 20\n    from: owner.serial", "path_taken", 10, 11},
		"pad too small":             {"pad: 16", "pad: 8", "range", 10, 41},
		"pad too large":             {"pad: 16", "pad: 4097", "range", 10, 41},
		"no normalisation":          {"normalise: [digits], ", "", "normalise", 10, 14},
		"unknown step":              {"[digits]", "[digit]", "normalise", 10, 27},
		"a cut as a step":           {"[digits]", "['text|prefix/2']", "normalise", 10, 27},
		"steps that do not fit":     {"[digits]", "[text, ip]", "normalise", 10, 26},
		"unknown index":             {"pad: 16", "pad: 16, index: [hash]", "index", 10, 53},
		"index without its part":    {"pad: 16", "pad: 16, index: [domain]", "index", 10, 53},
		"index of no length":        {"pad: 16", "pad: 16, index: [prefix]", "index", 10, 53},
		"index twice":               {"pad: 16", "pad: 16, index: [exact, exact]", "index_taken", 10, 60},
		"reveal":                    {"pad: 16", "pad: 16, reveal: all", "reveal", 10, 53},
		"reveal without its part":   {"pad: 16", "pad: 16, reveal: network", "reveal", 10, 53},
		"nothing for no index":      {"pad: 16", "pad: 16, index: [], nothing: [x]", "nothing", 10, 65},
		"subject that is no member": {"subject: owner", "subject: ownr", "subject", 3, 10},
		"protected subject":         {"subject: owner", "subject: serial", "subject", 3, 10},
		"version as subject":        {"subject: owner", "subject: firmware", "subject", 3, 10},
		"id without time":           {"subject: owner", "subject: owner\nid: owner", "id_needs_time", 4, 5},
		"optional id":               {"subject: owner", "subject: owner\nid: firmware", "id", 4, 5},
		"time of another type":      {"subject: owner", "subject: owner\ntime: owner", "time", 4, 7},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if text == small {
			t.Fatalf("%s: nothing was changed", name)
		}
		d, problems := dataset.Lint([]byte(text))
		found := slices.ContainsFunc(problems, func(p dataset.Problem) bool {
			return !p.Warning && p.Code == c.code && p.Line == c.line && p.Column == c.column
		})
		if d != nil || !found {
			t.Errorf("%s: %v, want %s at %d:%d", name, problems, c.code, c.line, c.column)
		}
		if _, err := dataset.Parse([]byte(text)); err == nil {
			t.Errorf("%s: Parse takes it", name)
		}
	}
}

// All mistakes are found at once, and none is blamed twice.
func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, problems := dataset.Lint([]byte(`dataset: Parcel
tabel: parcels
table: parcels
members:
  - {name: owner, type: text, max: many}
  - {type: text, max: 3}
  - {name: serial, type: text, max: 3, protect: {pad: 1, normalise: [digits], index: [domain]}}
`))
	var got []string
	for _, p := range problems {
		got = append(got, p.Code)
	}
	want := []string{"name", "unknown_key", "not_integer", "missing_key", "range", "index"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, p := range problems {
		if p.Code == "unknown_key" && !strings.Contains(p.Hint, "did you mean table") {
			t.Errorf("hint %q", p.Hint)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ member, code string }{
		"personal by its name": {"{name: home_phone, type: text, max: 9}", "clear_looks_personal"},
		"personal by its type": {"{name: gate, type: ip}", "clear_looks_personal"},
		"few values by type":   {"{name: x, type: boolean, protect: {}}", "index_few_values"},
		"few values by enum": {"{name: x, type: text, max: 9, enum: [a, b], protect: {normalise: [text]}}",
			"index_few_values"},
		"few values by range": {"{name: x, type: integer, min: 1, max: 9, protect: {}}", "index_few_values"},
		"few networks":        {"{name: x, type: ip, protect: {index: [prefix/8]}}", "index_few_values"},
		"few digits": {"{name: x, type: text, max: 9, protect: {normalise: [digits], index: [last/2]}}",
			"index_few_values"},
		"length": {"{name: x, type: text, max: 1000, protect: {normalise: [text], pad: 16}}",
			"pad_shows_length"},
		"length of an enum": {"{name: x, type: text, max: 99, enum: [a, bbbbbbbbbbbbbbbbbbbb], protect: {normalise: [text], pad: 16, index: []}}", "pad_shows_length"},
		"index and reveal":  {"{name: x, type: text, max: 99, protect: {normalise: [text], index: [domain], reveal: domain}}", "index_equals_reveal"},
	} {
		text := small + "  - " + c.member + "\n"
		d, problems := dataset.Lint([]byte(text))
		if d == nil || !slices.ContainsFunc(problems,
			func(p dataset.Problem) bool { return p.Warning && p.Code == c.code && p.Line == 11 && p.Hint != "" }) {
			t.Errorf("%s: %v, want %s on line 11", name, problems, c.code)
		}
	}
	if _, problems := dataset.Lint([]byte(small)); len(problems) > 0 {
		t.Errorf("a sound dataset: %v", problems)
	}
}

// The canonical form says every default, is read back to itself, and does not depend on how the YAML was written.
func TestCanonical(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*dataset.Dataset{"small": parse(t, small), "order": order(t),
		"login": dataset.Login()} {
		again, err := dataset.ParseCanonical(d.Canonical())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(d, again); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		golden(t, "testdata/"+name+".json", append(d.Canonical(), '\n'))
	}
	other := parse(t, `
table: 'parcels'
subject: owner
dataset: "parcel"
partition: month
members:
- {required: true, from: owner, type: text, max: 10, name: owner}
- {name: firmware, max: 12, type: version, required: false}
- {name: serial, type: text, max: 20, protect: {index: [exact], normalise: digits, pad: 16}}
`)
	if other.Hash() != parse(t, small).Hash() {
		t.Errorf("another spelling: %s", other.Canonical())
	}
	canonical := string(dataset.Login().Canonical())
	for name, text := range map[string]string{
		"a space": strings.Replace(canonical, ":", ": ", 1), "a second text": canonical + canonical,
		"cut off":            canonical[:len(canonical)-1],
		"a default left out": strings.Replace(canonical, `"partition":"month",`, "", 1), "nothing": "",
		"an array":  "[]",
		"a mistake": strings.Replace(canonical, `"pad":48`, `"pad":4`, 1), "a key twice": strings.Replace(canonical,
			`{"dataset"`, `{"dataset":"x","dataset"`, 1),
	} {
		if _, err := dataset.ParseCanonical([]byte(text)); text == canonical || err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The built-in dataset gives its author nothing to think about, and its sealed addresses have one length.
func TestLoginIsSound(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("datasets/login.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := dataset.Lint(text); len(problems) > 0 {
		t.Error(problems)
	}
	for _, ix := range dataset.Login().Indexes() {
		if want := map[string]string{"ip": "ip", "device_id": "alnum"}[ix.Member.Name]; string(ix.Transform) != want {
			t.Errorf("%s is normalised by %q, want %q", ix.Member.Name, ix.Transform, want)
		}
	}
	ip, ok := dataset.Login().Member("ip")
	// The longest spelling of an address, and the byte that ends the padding, fit one pad.
	if longest := len("0000:0000:0000:0000:0000:ffff:255.255.255.255"); !ok || ip.Protect.Pad < longest+1 {
		t.Errorf("pad %d, want more than %d", ip.Protect.Pad, longest)
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (-want +got; write it again with -update):\n%s", file, cmp.Diff(string(want), string(got)))
	}
}
