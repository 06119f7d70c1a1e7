package etl

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
		// The pipeline's goroutines, and fetches of data keys, do not outlive their run.
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
