package recover

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"runtime"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"cloakroom/internal/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// opening is one opening at work: a reader takes rows from the database in blocks, openers verify and open them, a writer
// spools them in order.
type opening struct {
	client    *Client
	settings  keys.Settings
	index     []keys.IndexKey
	fields    []string
	columns   []Column
	ring      *keys.Keyring
	wrapped   map[uint32]keys.WrappedKey // complete before the first row is
	versions  []uint32                   // of the tokens handed out
	spool     *spool
	handedOut bool
	rows      int64
}

// block is rows on their way; opened is theirs once done is closed.
type block struct {
	rows   []handedRow
	opened []byte
	done   chan struct{}
}

// handedRow is a row as the database hands it out.
type handedRow struct {
	kind    string
	id      uuid.UUID
	date    time.Time
	subject sql.NullString
	dataKey sql.NullInt32
	payload []byte // clear fields, sealed ones, tokens by version: see split
}

// blockRows is how many rows travel together.
const blockRows = 256

// unwrapAhead bounds how many keys are unwrapped before their rows come, and unwraps how many at once.
const (
	unwrapAhead = 1000
	unwraps     = 16
)

// forget drops every key.
func (op *opening) forget() {
	op.ring.Close()
	for _, k := range op.index {
		k.Destroy()
	}
}

// lookup finds a data key among those handed out: the auditor has no other door to them.
func (op *opening) lookup(_ context.Context, id uint32) (keys.WrappedKey, error) {
	w, ok := op.wrapped[id]
	if !ok || w.Wrapped == nil {
		return keys.WrappedKey{}, fmt.Errorf("opening with data key %d: %w", id, keys.ErrNoKey)
	}
	return w, nil
}

func (op *opening) run(ctx context.Context, id uuid.UUID, total int64, o OpenOptions) error {
	wait := o.Wait
	if wait == 0 {
		wait = 30 * time.Second
	}
	rows, err := op.client.handOut(ctx, id, wait)
	if err != nil {
		return err
	}
	defer rows.Close()
	op.handedOut = true

	group, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	todo := make(chan *block, workers)
	ordered := make(chan *block, 4*workers)
	group.Go(func() error {
		defer close(todo)
		defer close(ordered)
		return op.read(ctx, rows, group, todo, ordered)
	})
	for range workers {
		group.Go(func() error { return op.openBlocks(ctx, todo) })
	}
	group.Go(func() error { return op.write(ctx, ordered, total, o.Progress) })
	return group.Wait()
}

// read takes the versions, the keys and then the rows, and starts unwrapping the keys before the first row is here.
func (op *opening) read(ctx context.Context, rows *sql.Rows, group *errgroup.Group, todo, ordered chan<- *block) error {
	var b *block
	started := false
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
	for rows.Next() {
		row, err := op.next(rows)
		if err != nil {
			return err
		}
		if row == nil {
			continue
		}
		if !started {
			started = true
			if err := op.start(ctx, group); err != nil {
				return err
			}
		}
		if b == nil {
			b = &block{rows: make([]handedRow, 0, blockRows), done: make(chan struct{})}
		}
		if b.rows = append(b.rows, *row); len(b.rows) == blockRows {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return doing("taking the rows", err)
	}
	if b != nil {
		return send()
	}
	return nil
}

// next reads one line of hand_out: a version or a key, which it keeps, or a row, which it returns.
func (op *opening) next(rows *sql.Rows) (*handedRow, error) {
	var (
		r     handedRow
		id    uuid.NullUUID
		date  sql.NullTime
		kek   sql.NullString
		kekID sql.NullString
		w     keys.WrappedKey
	)
	err := rows.Scan(&r.kind, &id, &date, &r.subject, &r.dataKey, &r.payload, &kek, &kekID, &w.Wrapped, &w.KeyCheck)
	if err != nil {
		return nil, fmt.Errorf("reading a row: %w", pg.Redact(err))
	}
	switch r.kind {
	case "version":
		op.versions = append(op.versions, uint32(r.dataKey.Int32))
		return nil, nil
	case "key":
		w.KEK, w.KEKID = kek.String, kekID.String
		op.wrapped[uint32(r.dataKey.Int32)] = w
		return nil, nil
	}
	r.id, r.date = id.UUID, date.Time
	return &r, nil
}

// start sees that the index keys in hand are those of the tokens handed out, and begins to unwrap data keys.
func (op *opening) start(ctx context.Context, group *errgroup.Group) error {
	if !op.haveVersions() {
		// A reindex began or ended between the preparation and now.
		index, err := op.client.Vault.IndexKeys(ctx, op.settings, op.client.Dataset)
		if err != nil {
			return err
		}
		op.index = append(op.index, index...)
		if !op.haveVersions() {
			return fmt.Errorf("the vault's index keys changed while opening: %w", keys.ErrNoKey)
		}
	}
	ahead := make(chan uint32, unwrapAhead)
	for id := range op.wrapped {
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
	return nil
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
	for _, v := range op.versions {
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
		op.rows += int64(len(b.rows))
		if progress != nil {
			progress(op.rows, total)
		}
	}
	return nil
}

// split finds the values in a payload: lengths in 4 bytes, big endian, and bytes; ffffffff for NULL. It returns nil for
// what is not n values and nothing more.
func split(payload []byte, n int, into [][]byte) [][]byte {
	into = into[:0]
	for range n {
		if len(payload) < 4 {
			return nil
		}
		size := binary.BigEndian.Uint32(payload)
		payload = payload[4:]
		if size == 1<<32-1 {
			into = append(into, nil)
			continue
		}
		if uint64(len(payload)) < uint64(size) {
			return nil
		}
		into = append(into, payload[:size:size])
		payload = payload[size:]
	}
	if len(payload) > 0 {
		return nil
	}
	return into
}

// protectedOf lists the protected members among fields, in the order of fields, with their places among the dataset's.
func protectedOf(d *dataset.Dataset, fields []string) (members []*dataset.Member, places []int) {
	for _, f := range fields {
		for i, m := range d.Protected() {
			if m.Name == f {
				members, places = append(members, m), append(places, i)
			}
		}
	}
	return members, places
}
