package auditlog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/mod/sumdb/note"
)

// Sink is a directory that keeps checkpoints where the log's keepers cannot reach them: a mounted
// bucket with object lock, another department's file server, a directory that is synchronised away.
// One file a checkpoint, never written again.
type Sink string

const checkpointSuffix = ".checkpoint"

func (s Sink) path(size int64) string {
	return filepath.Join(string(s), fmt.Sprintf("%015d%s", size, checkpointSuffix))
}

// Put keeps a checkpoint, durably. Another one of the same size with another root is a fork of the
// log.
//
// It writes in place and links and renames nothing, for a mounted bucket can do neither. So a
// witness that dies may leave an empty file, which is ignored.
func (s Sink) Put(c Checkpoint) error {
	path := s.path(c.Size)
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		flags = os.O_WRONLY
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return s.same(c)
	}
	if err != nil {
		return fmt.Errorf("writing to the checkpoint sink: %w", err)
	}
	_, err = f.Write(c.Note)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("writing to the checkpoint sink: %w", errors.Join(err, os.Remove(f.Name())))
	}
	if err := s.sync(); err != nil {
		return err
	}
	return s.same(c) // two witnesses may have found the same empty file
}

// sync makes the file's name durable, if the file system can do that.
func (s Sink) sync() error {
	dir, err := os.Open(string(s))
	if err != nil {
		return fmt.Errorf("writing to the checkpoint sink: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("writing to the checkpoint sink: %w", err)
	}
	return nil
}

// last is the checkpoint of the most leaves. It returns false if there is none.
func (s Sink) last(key note.Verifier) (Checkpoint, bool, error) {
	names, err := s.names()
	if err != nil {
		return Checkpoint{}, false, err
	}
	for _, name := range slices.Backward(names) {
		if c, ok, err := readCheckpoint(name, key); ok || err != nil {
			return c, ok, err
		}
	}
	return Checkpoint{}, false, nil
}

// names lists the sink's files, that of the fewest leaves first.
func (s Sink) names() ([]string, error) {
	if _, err := os.Stat(string(s)); err != nil {
		return nil, fmt.Errorf("reading checkpoints: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(string(s), "*"+checkpointSuffix))
	if err != nil {
		return nil, fmt.Errorf("reading checkpoints: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// readCheckpoint reads one file; false: it is empty.
func readCheckpoint(name string, key note.Verifier) (c Checkpoint, ok bool, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return c, false, fmt.Errorf("reading checkpoints: %w", err)
	}
	if len(text) == 0 {
		return c, false, nil
	}
	if c, err = ParseCheckpoint(text, key); err != nil {
		return c, false, fmt.Errorf("%s: %w", name, err)
	}
	return c, true, nil
}

func (s Sink) same(c Checkpoint) error {
	there, err := os.ReadFile(s.path(c.Size))
	if err != nil {
		return fmt.Errorf("reading the checkpoint sink: %w", err)
	}
	if !bytes.Equal(there, c.Note) {
		return fmt.Errorf("%w: the sink holds another checkpoint of %d leaves: the log is forked", ErrInvalid, c.Size)
	}
	return nil
}

// ReadCheckpoints reads checkpoints, smallest first: those in a directory, or the one in a file.
// One that does not verify is an error.
func ReadCheckpoints(path string, key note.Verifier) ([]Checkpoint, error) {
	names := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("reading checkpoints: %w", err)
	} else if info.IsDir() {
		if names, err = Sink(path).names(); err != nil {
			return nil, err
		}
	}
	var out []Checkpoint
	for _, name := range names {
		c, ok, err := readCheckpoint(name, key)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return out, nil
}
