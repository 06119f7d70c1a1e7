package recover

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"cloakroom/keys"
)

// opening is one opening at work: a reader takes rows from the database in blocks, openers verify and open them, a writer
// spools them in order.
type opening struct {
	client   *Client
	request  uuid.UUID
	settings keys.Settings
	index    []keys.IndexKey
	fields   []string
	columns  []Column
	ring     *keys.Keyring
	handed   *handedOut // nil until the rows are handed out
	spool    *spool
	rows     int64
}

// block is rows on their way: as the database sends them, one after the other, and then opened. done is closed once they are.
type block struct {
	rows   int
	sent   []byte
	ends   []int // of each row in sent
	opened []byte
	done   chan struct{}
}

// blockRows is how many rows travel together.
const blockRows = 256

// maxAhead bounds how many keys are unwrapped before their rows come, and unwraps how many at once.
const (
	maxAhead = 1000
	unwraps  = 16
)

// forget drops every key.
func (op *opening) forget() {
	op.ring.Close()
	keys.DestroyIndexKeys(op.index)
}

// lookup finds a data key among those handed out: the auditor has no other door to them.
func (op *opening) lookup(ctx context.Context, id uint32) (keys.WrappedKey, error) {
	w, ok := op.handed.wrapped[id]
	switch {
	case !ok:
		return op.client.handedKey(ctx, op.request, id)
	case w.Wrapped == nil:
		return keys.WrappedKey{}, fmt.Errorf("opening with data key %d: %w", id, keys.ErrNoKey)
	}
	return w, nil
}

func (op *opening) run(ctx context.Context, total int64, o OpenOptions) (err error) {
	wait := o.Wait
	if wait == 0 {
		wait = 30 * time.Second
	}
	if op.handed, err = op.client.handOut(ctx, op.request, wait); err != nil {
		return err
	}
	defer func() {
		if endErr := op.handed.end(ctx); endErr != nil {
			// It was rolled back: for the database nothing was handed out, and the request may be opened again.
			op.handed = nil
			err = cmp.Or(err, endErr)
		}
	}()
	if err := op.matchVersions(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	todo := make(chan *block, workers)
	ordered := make(chan *block, 4*workers)
	group.Go(func() error {
		defer close(todo)
		defer close(ordered)
		return op.read(ctx, todo, ordered)
	})
	op.unwrapAhead(ctx, group)
	for range workers {
		group.Go(func() error { return op.openBlocks(ctx, todo) })
	}
	group.Go(func() error { return op.write(ctx, ordered, total, o.Progress) })
	return group.Wait()
}

// read takes the rows, block by block.
func (op *opening) read(ctx context.Context, todo, ordered chan<- *block) error {
	var b *block
	send := func() error {
		for _, to := range []chan<- *block{ordered, todo} {
			select {
			case to <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b = nil
		return nil
	}
	err := op.handed.each(ctx, func(row []byte) error {
		if b == nil {
			b = &block{sent: make([]byte, 0, blockRows*(len(row)+len(row)/8)), ends: make([]int, 0, blockRows), done: make(chan struct{})}
		}
		b.sent = append(b.sent, row...)
		b.ends = append(b.ends, len(b.sent))
		if b.rows++; b.rows == blockRows {
			return send()
		}
		return nil
	})
	if err != nil || b == nil {
		return err
	}
	return send()
}

// matchVersions sees that the index keys in hand are those of the tokens handed out.
func (op *opening) matchVersions(ctx context.Context) error {
	if op.haveVersions() {
		return nil
	}
	// A reindex began or ended between the preparation and now.
	index, err := op.client.Vault.IndexKeys(ctx, op.settings, op.client.Dataset)
	if err != nil {
		return err
	}
	if op.index = append(op.index, index...); !op.haveVersions() {
		return fmt.Errorf("the vault's index keys changed while opening: %w", keys.ErrNoKey)
	}
	return nil
}

// unwrapAhead begins to unwrap data keys before the first row is here, many at once: the keyring unwraps none twice.
func (op *opening) unwrapAhead(ctx context.Context, group *errgroup.Group) {
	ahead := make(chan uint32, maxAhead)
	for id := range op.handed.wrapped {
		if len(ahead) < cap(ahead) {
			ahead <- id
		}
	}
	close(ahead)
	for range min(unwraps, len(ahead)) {
		group.Go(func() error {
			for id := range ahead {
				if _, err := op.ring.Key(ctx, id); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func (op *opening) indexKey(version uint32) (keys.IndexKey, bool) {
	for _, k := range op.index {
		if k.Version == version {
			return k, true
		}
	}
	return keys.IndexKey{}, false
}

func (op *opening) haveVersions() bool {
	for _, v := range op.handed.versions {
		if _, ok := op.indexKey(v); !ok {
			return false
		}
	}
	return true
}

func (op *opening) openBlocks(ctx context.Context, todo <-chan *block) error {
	var o *opener
	for b := range todo {
		if o == nil {
			o = newOpener(op)
		}
		if err := o.open(ctx, b); err != nil {
			return err
		}
		close(b.done)
	}
	return nil
}

// write spools blocks in the order in which they were read.
func (op *opening) write(ctx context.Context, ordered <-chan *block, total int64, progress func(rows, total int64)) error {
	for b := range ordered {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := op.spool.add(b.opened); err != nil {
			return err
		}
		op.rows += int64(b.rows)
		if progress != nil {
			progress(op.rows, total)
		}
	}
	return nil
}
