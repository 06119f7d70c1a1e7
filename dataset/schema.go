package dataset

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

//go:generate go test -run TestJSONSchema . -update

// JSONSchema describes the YAML for editors, which complete and check with it. It comes from the tables that Parse
// reads by; Lint knows more than a schema can say.
func JSONSchema() []byte {
	text := fmt.Sprintf(`{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"title": "A cloakroom dataset", %s,
"$defs": {"member": {%s}, "protect": {%s},
"step": {"enum": ["text", "trim", "casefold", "digits", "alnum", "ip"]}}}`,
		schemaOf(datasetKeys), schemaOf(memberKeys), schemaOf(protectKeys))
	value := jsontext.Value(text)
	if err := value.Indent(jsontext.WithIndent("  ")); err != nil {
		panic(fmt.Sprintf("dataset: the JSON Schema is no JSON: %v", err))
	}
	return append(value, '\n')
}

func schemaOf[T any](keys []key[T]) string {
	var properties, needed []string
	for _, k := range keys {
		schema := strings.TrimSuffix(strings.TrimSpace(k.schema), "}")
		doc := k.doc
		if k.types != nil {
			var names []string
			for _, t := range k.types {
				names = append(names, string(t))
			}
			doc += " For type " + strings.Join(names, ", ") + "."
		}
		quoted, _ := jsontext.AppendQuote(nil, doc)
		properties = append(properties, fmt.Sprintf(`%q: %s, "description": %s}`, k.name, schema, quoted))
		if k.needed {
			needed = append(needed, fmt.Sprintf("%q", k.name))
		}
	}
	return fmt.Sprintf(`"type": "object", "additionalProperties": false, "required": [%s], "properties": {%s}`,
		strings.Join(needed, ", "), strings.Join(properties, ", "))
}
