package dataset_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"cloakroom/dataset"
)

// The schema that editors complete with is the one of this code: go generate ./dataset writes it again.
func TestJSONSchema(t *testing.T) {
	t.Parallel()
	golden(t, "../docs/dataset.schema.json", dataset.JSONSchema())
}

// validator compiles the schema as an editor does, with the rules of the schema's own schema.
func validator(t *testing.T) func(definition []byte) error {
	t.Helper()
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(dataset.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("dataset.schema.json", schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("dataset.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(definition []byte) error {
		var doc yaml.Node
		if err := yaml.Unmarshal(definition, &doc); err != nil {
			return err
		}
		datesAreTexts(&doc)
		var value any
		if err := doc.Decode(&value); err != nil {
			return err
		}
		return compiled.Validate(value)
	}
}

// datesAreTexts: editors read YAML 1.2, which has no dates.
func datesAreTexts(n *yaml.Node) {
	if n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, part := range n.Content {
		datesAreTexts(part)
	}
}

// What can be applied is no mistake to an editor.
func TestSchemaTakesDatasets(t *testing.T) {
	t.Parallel()
	validate := validator(t)
	files, err := filepath.Glob("../examples/*/dataset.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples: %v (%v)", files, err)
	}
	for _, file := range append(files, "datasets/login.yaml", "testdata/order.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dataset.Parse(text); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if err := validate(text); err != nil {
			t.Errorf("the schema refuses %s: %v", file, err)
		}
	}
}

// What an editor can see is wrong, it says while the author writes; lint says it, too.
func TestSchemaRefusesMistakes(t *testing.T) {
	t.Parallel()
	validate := validator(t)
	const good = "dataset: order\ntable: orders\nmembers:\n  - {name: a, type: text, max: 9}\n" +
		"  - {name: b, type: text, max: 9, protect: {normalise: [trim], pad: 32, index: [exact], reveal: last4}}\n"
	if err := validate([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"no table":            {"table: orders\n", ""},
		"unknown key":         {"table: orders", "table: orders\ntabel: x"},
		"a name in capitals":  {"dataset: order", "dataset: Order"},
		"two underscores":     {"name: a", "name: a__b"},
		"partition a year":    {"table: orders", "table: orders\npartition: year"},
		"no members":          {good[strings.Index(good, "members"):], "members: []\n"},
		"unknown type":        {"name: a, type: text", "name: a, type: string"},
		"member without type": {"name: a, type: text, max: 9", "name: a, max: 9"},
		"unknown step":        {"[trim]", "[lower]"},
		"pad too small":       {"pad: 32", "pad: 8"},
		"pad as a text":       {"pad: 32", "pad: large"},
		"unknown index":       {"[exact]", "[range]"},
		"unknown reveal":      {"last4", "first4"},
		"required as a text":  {"name: a, type: text, max: 9", "name: a, type: text, max: 9, required: maybe"},
		"an empty enum":       {"name: a, type: text, max: 9", "name: a, type: text, max: 9, enum: []"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Errorf("%s: nothing was changed", what)
		}
		if err := validate([]byte(text)); err == nil {
			t.Errorf("%s: the schema takes it:\n%s", what, text)
		}
		if _, err := dataset.Parse([]byte(text)); err == nil {
			t.Errorf("%s: Parse takes it:\n%s", what, text)
		}
	}
}
