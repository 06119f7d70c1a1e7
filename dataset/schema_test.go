package dataset_test

import (
	"testing"

	"cloakroom/dataset"
)

// The schema that editors complete with is the one of this code: go generate ./dataset writes it again.
func TestJSONSchema(t *testing.T) {
	t.Parallel()
	golden(t, "../docs/dataset.schema.json", dataset.JSONSchema())
}
