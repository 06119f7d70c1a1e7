package recovercmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// newFile is a file that gets its name only when it is whole. Until then it has no name at all
// (O_TMPFILE), so a program that is killed leaves nothing. Where the system or the file system
// cannot do that, it has a temporary name beside the later one, and the next run removes what a
// killed one left.
type newFile struct {
	*os.File
	path  string
	named bool // it has a temporary name
}

// temporaryPattern is the temporary name, in the directory of the later one.
const temporaryPattern = ".recover-*"

// createNewFile makes the file with a mode that it has from its first moment. It checks, before
// anything is spent, that the name is free and that the file can get it.
func createNewFile(path string, mode os.FileMode) (*newFile, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s is there already: name a new file", path)
	}
	dir := filepath.Dir(path)
	removeAbandoned(dir)
	f, err := openUnnamed(dir, mode)
	if err == nil {
		return &newFile{File: f, path: path}, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("making the output file: %w", err)
	}
	return createNamed(path, mode)
}

func createNamed(path string, mode os.FileMode) (*newFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), temporaryPattern) // 0600
	if err != nil {
		return nil, fmt.Errorf("making the output file: %w", err)
	}
	n := &newFile{File: f, path: path, named: true}
	// commit gives it its name by a link: try whether one can be made here.
	probe := f.Name() + ".link"
	err = errors.Join(claim(f), f.Chmod(mode), os.Link(f.Name(), probe), os.Remove(probe))
	if err != nil {
		n.discard()
		return nil, fmt.Errorf("making the output file: %w (use a file system with hard links, or --allow-pipe)", err)
	}
	return n, nil
}

// commit makes the file durable and gives it its name. A link does not replace a file that has
// appeared since; a rename would.
func (n *newFile) commit() error {
	if err := n.Sync(); err != nil {
		return err
	}
	link := linkUnnamed
	if n.named {
		link = func(f *os.File, path string) error { return os.Link(f.Name(), path) }
	}
	if err := link(n.File, n.path); err != nil {
		return err
	}
	n.discard()
	return nil
}

// discard closes the file and removes its temporary name, if it has one.
func (n *newFile) discard() {
	if n.File == nil {
		return
	}
	_ = n.Close()
	if n.named {
		_ = os.Remove(n.Name())
	}
	n.File = nil
}

// removeAbandoned removes temporary files in dir whose programs were killed. Nothing depends on it:
// what cannot be removed stays.
func removeAbandoned(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, temporaryPattern))
	for _, name := range names {
		if abandoned(name) {
			_ = os.Remove(name)
		}
	}
}
