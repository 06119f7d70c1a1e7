package recovercmd

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"cloakroom/internal/pg/pgtest"
)

// asRecover makes the test binary run as the program, for tests that kill it.
const asRecover = "RECOVER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asRecover) != "" {
		Main()
		return
	}
	testscript.Main(withPostgres{m}, map[string]func(){"recover": Main})
}

// withPostgres stops the shared server after the tests.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return pgtest.Run(w.m) }
