package recovercmd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file without a name in dir. It returns errors.ErrUnsupported if the kernel or
// the file system cannot do that, or if linkUnnamed could not name it later.
func openUnnamed(dir string, mode os.FileMode) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, uint32(mode.Perm()))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		return nil, errors.ErrUnsupported // EISDIR: a kernel before 3.11
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	if _, err := os.Stat(descriptorPath(f)); err != nil { // /proc is not mounted
		_ = f.Close()
		return nil, errors.ErrUnsupported
	}
	return f, nil
}

func descriptorPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// linkUnnamed gives an unnamed file its name (open(2), O_TMPFILE). It fails if the name is taken.
func linkUnnamed(f *os.File, path string) error {
	err := unix.Linkat(unix.AT_FDCWD, descriptorPath(f), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.PathError{Op: "link", Path: path, Err: err}
	}
	return nil
}

// claim locks a temporary file for as long as this process lives.
func claim(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	// Another run may have taken it for abandoned between its creation and the lock.
	there, err := os.Stat(f.Name())
	if err != nil {
		return err
	}
	ours, err := f.Stat()
	if err == nil && !os.SameFile(there, ours) {
		err = os.ErrNotExist
	}
	return err
}

// abandoned reports whether no process holds the lock of a temporary file any more.
func abandoned(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
