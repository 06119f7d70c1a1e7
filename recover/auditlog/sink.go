package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// Sink is a directory that keeps checkpoints where the log's keepers cannot reach them: a mounted bucket with object lock,
// another department's file server, a directory that is synchronised away. One file a checkpoint, never written again.
type Sink string

const checkpointSuffix = ".checkpoint"

func (s Sink) path(size int64) string {
	return filepath.Join(string(s), fmt.Sprintf("%015d%s", size, checkpointSuffix))
}

// Put keeps a checkpoint, durably. Another one of the same size with another root is a fork of the log.
func (s Sink) Put(c Checkpoint) error {
	f, err := os.OpenFile(s.path(c.Size), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
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
	return nil
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

// ReadCheckpoints reads checkpoints, smallest first: those in a directory, or the one in a file. One that does not verify is
// an error.
func ReadCheckpoints(path string, key note.Verifier) ([]Checkpoint, error) {
	names := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("reading checkpoints: %w", err)
	} else if info.IsDir() {
		if names, err = filepath.Glob(filepath.Join(path, "*"+checkpointSuffix)); err != nil {
			return nil, fmt.Errorf("reading checkpoints: %w", err)
		}
	}
	var out []Checkpoint
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading checkpoints: %w", err)
		}
		c, err := ParseCheckpoint(text, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Checkpoint) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	return out, nil
}
