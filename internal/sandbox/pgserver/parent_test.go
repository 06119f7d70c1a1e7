package pgserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloakroom/internal/sandbox/pgserver"
)

// asParent makes this test binary start a server, report it and wait.
const asParent = "PGSERVER_TEST_PARENT"

type report struct {
	PID int
	Dir string
	URL string
}

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		s, err := pgserver.Start(context.Background(), pgserver.Config{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		json.NewEncoder(os.Stdout).Encode(report{s.PID(), s.Dir(), s.URL(s.SuperUser(), "postgres")})
		runtime.GC() // threads come and go; the server must not mind
		select {}
	}
	os.Exit(m.Run())
}

func TestServerDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child of its parent's death")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), asParent+"=1")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var r report
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		parent.Process.Kill()
		t.Fatalf("reading the parent's report: %v", err)
	}
	open(t, r.URL) // a client in the middle of something must not hold it up
	children := childrenOf(t, r.PID)
	if !running(r.PID) || len(children) == 0 {
		t.Fatalf("postmaster %d with children %v does not run", r.PID, children)
	}

	parent.Process.Kill()
	parent.Wait()
	begin := time.Now()
	for _, pid := range append(children, r.PID) {
		for running(pid) {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("process %d outlives its parent", pid)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	t.Logf("all gone after %v", time.Since(begin))

	// Its directory goes with the next start.
	start(t, pgserver.Config{})
	missing(t, r.Dir)
}

// An ordinary user needs no root, and root drops to an ordinary user: each is
// run by whoever runs the tests. As root, this also runs the rest of the suite
// as nobody.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("we are one")
	}
	runAsNobody(t, strings.Join([]string{"TestZeroConfig", "TestDirIsKept", "TestKill", "TestPause", "TestServerDies"}, "|"))
}
