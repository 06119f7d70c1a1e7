//go:build unix && !linux

package pgserver

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// endWithParent has no counterpart here: a server whose program was killed
// stays until the next Start sweeps it up.
func endWithParent(*syscall.SysProcAttr) {}

// memoryDir has no counterpart either.
func memoryDir() string { return "" }

func processes() ([]process, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,state=").Output()
	if err != nil {
		return nil, fmt.Errorf("running ps: %w", err)
	}
	var table []process
	for line := range strings.Lines(string(out)) {
		var p process
		if _, err := fmt.Sscanf(line, "%d %d %c", &p.pid, &p.parent, &p.state); err != nil {
			return nil, fmt.Errorf("reading the output of ps: %w", err)
		}
		table = append(table, p)
	}
	return table, nil
}

// alive does not count a zombie, which has let go of everything.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return false
	}
	state := ps(pid, "state=")
	return state != "" && state[0] != 'Z'
}

func commandLine(pid int) string { return ps(pid, "command=") }

func ps(pid int, column string) string {
	out, err := exec.Command("ps", "-o", column, "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
