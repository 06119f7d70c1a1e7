package auditlog

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrInvalid reports a log that is not what a checkpoint promised, or a checkpoint that does not verify.
var ErrInvalid = errors.New("the audit log does not verify")

// Leaves gives the text of one leaf after another, from number 0 on; io.EOF after the last. A text
// is good until the next call.
type Leaves interface {
	Next(ctx context.Context) ([]byte, error)
}

// Result is what Verify found in a log that is valid.
type Result struct {
	Size        int64     `json:"size"`
	Root        tlog.Hash `json:"root"`
	Checkpoints int       `json:"checkpoints"` // compared, all good
	Covered     int64     `json:"covered"`     // leaves under the newest checkpoint; nothing proves the others
}

// Verify reads a log from its first leaf to its last and compares it with checkpoints, sorted by
// size, which were kept elsewhere. It holds one leaf at a time, whatever the log's length. visit,
// unless nil, is called with each leaf's text.
//
// Recomputing every root is a proof of consistency between all checkpoints at once: two that do not
// belong to one log cannot both agree with these leaves. Errors wrap ErrInvalid where something is
// wrong with the log.
func Verify(
	ctx context.Context, leaves Leaves, checkpoints []Checkpoint, visit func(leaf []byte) error,
) (Result, error) {
	var t tree
	var r Result
	rest := checkpoints
	for {
		for len(rest) > 0 && rest[0].Size == t.size {
			if t.root() != rest[0].Root {
				return r, fmt.Errorf("%w: at least one of leaves %d to %d is not as the checkpoint of %d leaves says: "+
					"it was edited, or this is another log", ErrInvalid, r.Covered, t.size-1, t.size)
			}
			r.Covered = t.size
			r.Checkpoints++
			rest = rest[1:]
		}
		leaf, err := leaves.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return r, err
		}
		if !numbered(leaf, t.size) {
			return r, fmt.Errorf("%w: the leaf at place %d has another number", ErrInvalid, t.size)
		}
		t.add(leaf)
		if visit != nil {
			if err := visit(leaf); err != nil {
				return r, err
			}
		}
	}
	if len(rest) > 0 {
		return r, fmt.Errorf("%w: it ends after %d leaves, but there is a checkpoint of %d: the tail was cut",
			ErrInvalid, t.size, rest[len(rest)-1].Size)
	}
	r.Size, r.Root = t.size, t.root()
	return r, nil
}
