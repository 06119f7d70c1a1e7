// Package chaos breaks what real ingest processes depend on, and the processes themselves, and then counts: what was
// sent is stored or rejected, once, and opens.
//
// Every test ends in the ledger of rig.settle. The Postgres, the SQS and the KMS are the sandbox's, each behind a proxy
// that can slow, cut and close connections; the programs are built from this checkout.
package chaos

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"cloakroom/internal/pg/pgtest"
)

// programs is the directory of the built programs.
var programs string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's own log, which has loggers besides the one it is given
	// The tests wait for timeouts far more than they compute.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("10"); err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "cloakroom-chaos-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	programs = dir
	for _, name := range []string{"ingest", "keys"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), "cloakroom/cmd/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building cmd/%s: %v\n%s", name, err, out)
			return 1
		}
	}
	return pgtest.Run(m)
}
