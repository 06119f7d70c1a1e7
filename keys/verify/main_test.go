package verify_test

import (
	"os"
	"testing"

	"cloakroom/internal/pg/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
