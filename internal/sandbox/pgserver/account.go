package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is whom Postgres runs as when we are root. A nil account is
// ourselves; every method takes it.
type account struct {
	name string
	uid  uint32
	gid  uint32
}

// chooseAccount is nil for an ordinary user. For root it is the owner of the
// cluster in dir, or else an unprivileged account that the machine has.
func chooseAccount(dir string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if dir != "" {
		if a := ownerOf(filepath.Join(dir, dataName)); a != nil {
			return a, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("choosing an account: Postgres does not run as root," +
		" and there is neither a postgres nor a nobody to run as (useradd --system postgres)")
}

// ownerOf is nil when path is missing or root's.
func ownerOf(path string) *account {
	st, ok := fileStat(path)
	if !ok || st.Uid == 0 {
		return nil
	}
	return &account{name: "uid " + strconv.Itoa(int(st.Uid)), uid: st.Uid, gid: st.Gid}
}

func fileStat(path string) (*syscall.Stat_t, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return st, ok
}

// attr makes a child run as the account, in a process group of its own (a
// Ctrl-C at the terminal is ours to handle), and end with us.
func (a *account) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		// No Groups: the child loses all supplementary ones.
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	endWithParent(attr)
	return attr
}

// mkdir makes a directory that only the account can enter. Its parent is ours,
// so nobody can have put a link in its place.
func (a *account) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// reach refuses a directory that the account cannot enter, and names the one on
// the way that is shut: as root we would not notice it ourselves.
func (a *account) reach(dir string) error {
	if a == nil {
		return nil
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && !a.mayEnter(st, info.Mode()) {
			return fmt.Errorf("running as %s: it cannot enter %s (mode %04o);"+
				" chmod o+x it, or choose another directory", a.name, d, info.Mode().Perm())
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func (a *account) mayEnter(st *syscall.Stat_t, mode os.FileMode) bool {
	switch {
	case st.Uid == a.uid:
		return mode&0o100 != 0
	case st.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
