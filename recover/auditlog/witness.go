package auditlog

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cloakroom/internal/pg"
)

// Witness signs checkpoints and keeps them at a sink. It signs nothing that does not continue what
// it signed last.
type Witness struct {
	Log    Log // its login needs the role witness
	Signer note.Signer
	Key    note.Verifier // of the signer
	Sink   Sink
}

// Checkpoint signs the log as it stands, puts the checkpoint at the sink, and only then tells the
// database. made is false where there is nothing new to sign. An error that wraps ErrInvalid means
// that the log is not the one signed before.
func (w Witness) Checkpoint(ctx context.Context) (c Checkpoint, made bool, err error) {
	size, err := w.Log.Size(ctx)
	if err != nil {
		return c, false, err
	}
	root, err := tlog.TreeHash(size, w.Log.nodes(ctx))
	if err != nil {
		return c, false, fmt.Errorf("computing the log's root: %w", err)
	}
	last, kept, err := w.Sink.last(w.Key)
	if err != nil {
		return c, false, err
	}
	if kept {
		if err := w.continues(ctx, last, size, root); err != nil {
			return c, false, err
		}
		if fresh, err := w.anythingNew(ctx, last.Size, size); err != nil || !fresh {
			// The sink may know what the database was not told, if the witness died in between.
			return last, false, w.record(ctx, last, err)
		}
	}
	if size == 0 {
		return c, false, nil
	}
	if c, err = sign(w.Signer, size, root); err != nil {
		return c, false, err
	}
	if err := w.Sink.Put(c); err != nil {
		return c, false, err
	}
	return c, true, w.record(ctx, c, nil)
}

// continues proves that the present log begins with the log that was signed.
func (w Witness) continues(ctx context.Context, last Checkpoint, size int64, root tlog.Hash) error {
	if size < last.Size {
		return fmt.Errorf("%w: it has %d leaves, the last checkpoint at the sink %d: the tail was cut",
			ErrInvalid, size, last.Size)
	}
	proof, err := tlog.ProveTree(size, last.Size, w.Log.nodes(ctx))
	if err == nil {
		err = tlog.CheckTree(proof, size, root, last.Size, last.Root)
	}
	if err != nil {
		return fmt.Errorf("%w: it does not continue the last checkpoint at the sink, of %d leaves: %w",
			ErrInvalid, last.Size, err)
	}
	return nil
}

// anythingNew reports whether the log has leaves that the last checkpoint does not cover, other
// than the one leaf that recorded it.
func (w Witness) anythingNew(ctx context.Context, signed, size int64) (bool, error) {
	if size != signed+1 {
		return size > signed, nil
	}
	page, err := w.Log.Read(ctx, signed, 1)
	if err != nil || len(page) == 0 {
		return false, err
	}
	leaf, err := ParseLeaf(page[0].Leaf)
	return err != nil || leaf.Type != "checkpoint", nil
}

func (w Witness) record(ctx context.Context, c Checkpoint, err error) error {
	if err != nil {
		return err
	}
	_, err = w.Log.DB.ExecContext(ctx, `SELECT cloakroom.record_checkpoint($1, $2, $3)`,
		c.Size, c.Root[:], string(c.Note))
	if err != nil {
		return fmt.Errorf("recording the checkpoint in the database: %w", pg.RedactFor("witness", err))
	}
	return nil
}
