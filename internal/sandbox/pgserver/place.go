package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	tempPrefix = "cloakroom-pg-"
	dataName   = "data"
	// A socket's path has 104 bytes on macOS and 108 on Linux, with the NUL.
	longestSocket = 99
)

// place is the directory of one server. It belongs to us, not to Postgres's
// account, so that root never follows a link that account planted; the account
// owns two directories in it.
//
//	lock             held while we live: a place whose lock is free is abandoned
//	postgresql.conf  ours; includes the one initdb wrote
//	postgres.log
//	data/            the cluster
//	run/             the socket
type place struct {
	dir     string
	temp    bool
	account *account
	lock    *os.File // nil: not claimed
	sockets *place   // nil: the socket is in dir; else dir is too long for one
}

func (p *place) data() string { return filepath.Join(p.dir, dataName) }
func (p *place) conf() string { return filepath.Join(p.dir, "postgresql.conf") }
func (p *place) log() string  { return filepath.Join(p.dir, "postgres.log") }

func (p *place) socketDir() string {
	if p.sockets != nil {
		return p.sockets.socketDir()
	}
	return filepath.Join(p.dir, "run")
}

func socketFits(dir string) bool {
	return len(filepath.Join(dir, "run", ".s.PGSQL.65535")) <= longestSocket
}

// openPlace claims cfg.Dir, or a new temporary directory.
func openPlace(cfg Config, acc *account) (*place, error) {
	bases := tempBases(cfg.Memory)
	sweep(bases)
	if cfg.Dir == "" {
		return tempPlace(bases, acc)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir, account: acc}
	if err := p.mkdir(); err != nil {
		return nil, err
	}
	if err := acc.reach(dir); err != nil {
		return nil, err
	}
	if !socketFits(dir) {
		if p.sockets, err = tempPlace(bases, acc); err != nil {
			return nil, err
		}
	}
	if err := p.claim(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// tempPlace makes a directory in the first of the bases that Postgres's account
// can enter and that is short enough for a socket's path.
func tempPlace(bases []string, acc *account) (*place, error) {
	var refused error
	for _, base := range bases {
		if err := acc.reach(base); err != nil {
			refused = errors.Join(refused, err)
			continue
		}
		if !socketFits(filepath.Join(base, tempPrefix+"4294967295")) {
			refused = errors.Join(refused, fmt.Errorf("%s is too long for a socket's path", base))
			continue
		}
		return newTempPlace(base, acc)
	}
	return nil, fmt.Errorf("making a temporary directory: %w", refused)
}

// tempBases is where temporary directories may be, best first.
func tempBases(memory bool) []string {
	var bases []string
	if dir := memoryDir(); memory && dir != "" {
		bases = append(bases, dir)
	}
	bases = append(bases, filepath.Clean(os.TempDir()), "/tmp")
	return slices.Compact(bases)
}

func newTempPlace(base string, acc *account) (*place, error) {
	var err error
	for range 3 { // a sweep elsewhere may take a directory that has no lock yet
		var dir string
		if dir, err = os.MkdirTemp(base, tempPrefix); err != nil {
			return nil, err
		}
		p := &place{dir: dir, temp: true, account: acc}
		if err := p.open(); err != nil {
			return nil, err
		}
		if err = p.claim(); err == nil {
			return p, nil
		}
	}
	return nil, err
}

// mkdir makes the place's directory, and those above it, unless it exists.
func (p *place) mkdir() error {
	if _, err := os.Stat(p.dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	return p.open()
}

// open lets the account pass, and nobody look.
func (p *place) open() error {
	mode := os.FileMode(0o700)
	if p.account != nil {
		mode = 0o711
	}
	return os.Chmod(p.dir, mode)
}

// claim takes the lock, and waits for a server that a dead owner left.
func (p *place) claim() error {
	if p.lock != nil {
		return nil
	}
	if p.sockets != nil { // close removed it
		if err := errors.Join(p.sockets.mkdir(), p.sockets.claim()); err != nil {
			return err
		}
	}
	f, err := tryLock(filepath.Join(p.dir, "lock"), os.O_CREATE)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("claiming %s: another process runs a server there", p.dir)
	}
	if err != nil {
		return fmt.Errorf("claiming %s: %w", p.dir, err)
	}
	p.lock = f
	return endOrphan(p.data())
}

// tryLock opens and locks path without waiting. It fails when path is no longer
// the file it locked.
func tryLock(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
	}
	f.Close()
	return nil, errors.Join(err, fs.ErrNotExist)
}

// close gives the place up; a temporary one is removed, before its lock is free.
func (p *place) close() error {
	var err error
	if p.sockets != nil {
		err = p.sockets.close()
	}
	if p.temp {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	if p.lock != nil {
		p.lock.Close()
		p.lock = nil
	}
	return err
}

// clusterVersion is the major version of the cluster in the place, 0 for none.
func (p *place) clusterVersion() (int, error) {
	b, err := os.ReadFile(filepath.Join(p.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the cluster's version: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("reading the cluster's version: %w", err)
	}
	return major, nil
}
