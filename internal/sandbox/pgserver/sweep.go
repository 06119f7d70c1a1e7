package pgserver

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sweep removes the temporary directories of programs that were killed. It is
// housekeeping: what it cannot remove it leaves.
func sweep(bases []string) {
	for _, base := range bases {
		abandoned, _ := filepath.Glob(filepath.Join(base, tempPrefix+"*"))
		for _, dir := range abandoned {
			// Anybody may write in /tmp: only what we made ourselves is ours.
			if st, ok := fileStat(dir); !ok || int(st.Uid) != os.Geteuid() {
				continue
			}
			p := &place{dir: dir, temp: true}
			f, err := tryLock(filepath.Join(dir, "lock"), 0)
			if err != nil {
				continue // its owner lives, or has not come to the lock yet
			}
			p.lock = f
			if endOrphan(p.data()) == nil {
				_ = p.close()
			}
		}
	}
}

// orphanGrace is how long a server whose owner has died gets to shut down.
const orphanGrace = 5 * time.Second

// endOrphan ends the server that still runs on data though nobody owns it.
func endOrphan(data string) error {
	pid := postmasterOn(data)
	if pid == 0 {
		return nil
	}
	if err := endFamily(pid, orphanGrace); err != nil {
		return fmt.Errorf("ending the server left on %s (process %d): %w", data, pid, err)
	}
	return nil
}

// postmasterOn is the process that serves data, 0 for none. The number in
// postmaster.pid may be a stranger's by now, so its command line must agree.
func postmasterOn(data string) int {
	status, err := readPidFile(data)
	if err != nil || !alive(status.pid) {
		return 0
	}
	if !strings.Contains(commandLine(status.pid), data) {
		return 0
	}
	return status.pid
}

// pidFile is what Postgres says of itself in postmaster.pid.
type pidFile struct {
	pid   int
	ready bool
}

func readPidFile(data string) (pidFile, error) {
	f, err := os.Open(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	defer f.Close()
	var lines []string
	for in := bufio.NewScanner(f); in.Scan(); {
		lines = append(lines, strings.TrimSpace(in.Text()))
	}
	if len(lines) == 0 {
		return pidFile{}, errors.New("postmaster.pid is empty")
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil || pid <= 1 {
		return pidFile{}, fmt.Errorf("postmaster.pid names no process: %q", lines[0])
	}
	// The eighth line is the one pg_ctl waits for.
	return pidFile{pid: pid, ready: len(lines) > 7 && lines[7] == "ready"}, nil
}
