package keys_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"cloakroom/internal/pg/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	if code == 0 {
		// Fetches of data keys run in the background: none outlives the tests.
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
