package auditlog

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Inclusion proves to a holder of a checkpoint that one leaf is in the log, without the rest of
// the log (RFC 6962, section 2.1.1).
type Inclusion struct {
	Leaf  string           `json:"leaf"` // its text
	Seq   int64            `json:"seq"`
	Size  int64            `json:"size"` // of the checkpoint
	Proof tlog.RecordProof `json:"proof"`
}

// ProveInclusion proves a leaf to be in the log of a size.
func (l Log) ProveInclusion(ctx context.Context, size, seq int64) (*Inclusion, error) {
	page, err := l.Read(ctx, seq, 1)
	if err != nil {
		return nil, err
	}
	if seq < 0 || seq >= size || len(page) == 0 || page[0].Seq != seq {
		return nil, fmt.Errorf("proving leaf %d: the log of %d leaves has none of that number", seq, size)
	}
	proof, err := tlog.ProveRecord(size, seq, l.nodes(ctx))
	if err != nil {
		return nil, fmt.Errorf("proving leaf %d: %w", seq, err)
	}
	return &Inclusion{Leaf: string(page[0].Leaf), Seq: seq, Size: size, Proof: proof}, nil
}

// Check checks the proof against a checkpoint. Errors wrap ErrInvalid.
func (p *Inclusion) Check(c Checkpoint) error {
	if p.Size != c.Size {
		return fmt.Errorf("%w: the proof is for the checkpoint of %d leaves, not of %d", ErrInvalid, p.Size, c.Size)
	}
	if !numbered([]byte(p.Leaf), p.Seq) {
		return fmt.Errorf("%w: the leaf is not numbered %d", ErrInvalid, p.Seq)
	}
	if err := tlog.CheckRecord(p.Proof, c.Size, c.Root, p.Seq, tlog.RecordHash([]byte(p.Leaf))); err != nil {
		return fmt.Errorf("%w: leaf %d: %w", ErrInvalid, p.Seq, err)
	}
	return nil
}
