package pgserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
)

// asParent makes this test binary start a server, report it and wait: "run", or
// "pause" to leave it paused.
const asParent = "PGSERVER_TEST_PARENT"

func TestMain(m *testing.M) {
	if mode := os.Getenv(asParent); mode != "" {
		if err := beParent(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// report is a line of JSON from parent to test.
type report struct {
	PID int
	Dir string
	URL string
}

func beParent(mode string) error {
	s, err := pgserver.Start(context.Background(), pgserver.Config{Memory: true})
	if err != nil {
		return err
	}
	for range 50 { // threads come and go; the server must not mind
		go func() { runtime.LockOSThread() }()
	}
	time.Sleep(50 * time.Millisecond)
	if mode == "pause" {
		if err := s.Pause(); err != nil {
			return err
		}
	}
	err = json.NewEncoder(os.Stdout).Encode(report{s.PID(), s.Dir(), s.URL(s.SuperUser(), "postgres")})
	if err != nil {
		return err
	}
	select {}
}

// startParent returns when the parent's server runs.
func startParent(t *testing.T, mode string) (*exec.Cmd, report) {
	t.Helper()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), asParent+"="+mode)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { parent.Process.Kill() })
	var r report
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		t.Fatalf("reading the parent's report: %v", err)
	}
	return parent, r
}

func TestServerDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child of its parent's death: see TestNextStartSweeps")
	}
	parent, r := startParent(t, "run")
	open(t, r.URL) // a client must not hold it up
	pids := family(t, r.PID)

	parent.Process.Kill()
	parent.Wait()
	begin := time.Now()
	for _, pid := range pids {
		for pgserver.Alive(pid) {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("process %d outlives its parent", pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
	t.Logf("all gone after %v", time.Since(begin))
	pgtest.Server(t, pgserver.Config{})
	missing(t, r.Dir)
}

// A paused server cannot hear that its parent is gone, on any system: the next
// start ends it.
func TestNextStartSweeps(t *testing.T) {
	parent, r := startParent(t, "pause")
	pids := family(t, r.PID)
	parent.Process.Kill()
	parent.Wait()

	pgtest.Server(t, pgserver.Config{})
	for _, pid := range pids {
		if pgserver.Alive(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	missing(t, r.Dir)
}
