package pgserver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// endWithParent makes the kernel send the child a SIGINT, Postgres's fast
// shutdown, when the thread that starts it ends: see startChild.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }

// processes reads /proc: ps is missing in small images.
func processes() ([]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	table := make([]process, 0, len(stats))
	for _, path := range stats {
		p, err := readStat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended while we looked
		}
		if err != nil {
			return nil, err
		}
		table = append(table, p)
	}
	return table, nil
}

// readStat parses proc(5)'s stat: "pid (name) state parent ...". The name may
// hold anything, so the fields count from the last parenthesis.
func readStat(path string) (process, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return process{}, err
	}
	var p process
	end := bytes.LastIndexByte(b, ')')
	if _, err := fmt.Sscanf(string(b[end+1:]), " %c %d", &p.state, &p.parent); err != nil {
		return process{}, fmt.Errorf("reading %s: %w", path, err)
	}
	p.pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path)))
	return p, err
}

// alive does not count a zombie, which has let go of everything.
func alive(pid int) bool {
	p, err := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && p.state != 'Z' && p.state != 'X'
}

func commandLine(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(b), "\x00", " ")
}
