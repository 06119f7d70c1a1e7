package dataset_test

import (
	"flag"
	"os"
	"testing"

	"cloakroom/internal/pg/pgtest"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(pgtest.Run(m))
}
