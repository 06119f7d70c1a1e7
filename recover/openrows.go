package recover

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"cloakroom/dataset"
	"cloakroom/keys"
)

// openJob opens the rows of T3. A reader takes rows from the database in blocks, one opener a
// processor opens and checks them, and a writer spools them in the order in which they were read.
type openJob struct {
	client    *Client
	request   uuid.UUID
	dataset   *dataset.Dataset
	settings  keys.Settings
	index     []keys.IndexKey
	fields    []string
	columns   []Column
	ring      *keys.Keyring
	handed    *handOut
	handedOut bool // T3 is committed: the approval is spent
	spool     *spool
	rows      int64
	skip      bool // rows that do not open are left out

	mu      sync.Mutex
	damaged []DamagedRow
}

// block is some rows: first as the database sends them, one after the other, then opened. done is
// closed after that.
type block struct {
	rows   int
	sent   []byte
	ends   []int // of each row in sent
	opened []byte
	done   chan struct{}
}

// blockRows is how many rows travel together: enough that channels cost nothing, few enough to
// begin early.
const blockRows = 256

// Data keys are unwrapped before their rows come, unwraps at once. maxAhead stays below what the
// keyring holds.
const (
	maxAhead = 1000
	unwraps  = 16
)

// newOpenJob unwraps the index keys. A KEK that is unavailable or refuses them fails here, before
// the approval is spent.
func (c *Client) newOpenJob(ctx context.Context, d *Details, o OpenOptions) (*openJob, error) {
	of, err := c.dataset(ctx, *d.Dataset)
	if err != nil {
		return nil, err
	}
	s, index, err := c.indexKeys(ctx, of)
	if err != nil {
		return nil, err
	}
	job := &openJob{
		client: c, request: d.ID, dataset: of, settings: s, index: index, fields: d.Fields,
		columns: columnsOf(of, d.Fields), skip: o.SkipDamaged, spool: newSpool(cmp.Or(o.Memory, defaultMemory)),
	}
	job.ring = keys.NewKeyring(c.Vault, s, job.lookup)
	return job, nil
}

// destroyKeys zeroes the index keys and forgets the data keys.
func (job *openJob) destroyKeys() {
	job.ring.Close()
	keys.DestroyIndexKeys(job.index)
}

// lookup finds a data key among those handed out. No other API function gives an auditor one.
func (job *openJob) lookup(ctx context.Context, id uint32) (keys.WrappedKey, error) {
	w, ok := job.handed.wrapped[id]
	switch {
	case !ok:
		return job.client.lateKey(ctx, job.request, id)
	case w.Wrapped == nil:
		return keys.WrappedKey{}, fmt.Errorf("opening with data key %d: %w", id, keys.ErrNoKey)
	}
	return w, nil
}

// run is T3, from its beginning to its commit.
func (job *openJob) run(ctx context.Context, total int64, o OpenOptions) (err error) {
	job.handed, err = job.client.beginHandOut(ctx, job.request, cmp.Or(o.Wait, defaultWait))
	if err != nil {
		return err
	}
	defer func() {
		commitErr := job.handed.commit(ctx)
		job.handedOut = commitErr == nil
		err = cmp.Or(err, commitErr)
	}()
	if err := job.refresh(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	// The capacities bound memory: some thousand rows are under way, whatever the size of the
	// request.
	todo := make(chan *block, workers)
	ordered := make(chan *block, 4*workers)
	group.Go(func() error {
		defer close(todo)
		defer close(ordered)
		return job.read(ctx, todo, ordered)
	})
	job.unwrapAhead(ctx, group)
	for range workers {
		group.Go(func() error { return job.openBlocks(ctx, todo) })
	}
	group.Go(func() error { return job.write(ctx, ordered, total, o.Progress) })
	return group.Wait()
}

// read takes the rows, block by block, and gives each block to the writer and to an opener.
func (job *openJob) read(ctx context.Context, todo, ordered chan<- *block) error {
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
	err := job.handed.each(ctx, func(row []byte) error {
		if b == nil {
			b = &block{
				sent: make([]byte, 0, blockRows*(len(row)+len(row)/8)), ends: make([]int, 0, blockRows),
				done: make(chan struct{}),
			}
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

// refresh reads again what changed since newOpenJob: the dataset, or the index keys if a reindex
// began or ended. From here on T3's cursor holds the columns of the rows' table as they are.
func (job *openJob) refresh(ctx context.Context) error {
	d, err := job.client.dataset(ctx, job.dataset.Name)
	if err != nil {
		return err
	}
	if d.Hash() != job.dataset.Hash() {
		keys.DestroyIndexKeys(job.index)
		job.index, job.dataset, job.columns = nil, d, columnsOf(d, job.fields)
	}
	if job.hasVersions() {
		return nil
	}
	index, err := job.client.Vault.IndexKeys(ctx, job.settings, job.dataset)
	if err != nil {
		return err
	}
	if job.index = append(job.index, index...); !job.hasVersions() {
		return fmt.Errorf("the vault's index keys changed while opening: %w", keys.ErrNoKey)
	}
	return nil
}

// hasVersions reports whether there is an index key for every version of the tokens.
func (job *openJob) hasVersions() bool {
	for _, v := range job.handed.versions {
		if _, ok := job.indexKey(v); !ok {
			return false
		}
	}
	return true
}

func (job *openJob) indexKey(version uint32) (keys.IndexKey, bool) {
	for _, k := range job.index {
		if k.Version == version {
			return k, true
		}
	}
	return keys.IndexKey{}, false
}

// unwrapAhead begins to unwrap data keys before the first row is here, many at once. The keyring
// unwraps none twice.
func (job *openJob) unwrapAhead(ctx context.Context, group *errgroup.Group) {
	ahead := make(chan uint32, maxAhead)
	for id := range job.handed.wrapped {
		if len(ahead) < cap(ahead) {
			ahead <- id
		}
	}
	close(ahead)
	for range min(unwraps, len(ahead)) {
		group.Go(func() error {
			for id := range ahead {
				// A key that is bad is its rows' problem, and named with them.
				_, err := job.ring.Key(ctx, id)
				if _, isData := keys.DataProblem(err); err != nil && !(job.skip && isData) {
					return err
				}
			}
			return nil
		})
	}
}

// openBlocks opens blocks until there are no more, or one fails: then the whole opening fails.
func (job *openJob) openBlocks(ctx context.Context, todo <-chan *block) error {
	var o *rowOpener
	for b := range todo {
		if o == nil {
			var err error
			if o, err = newRowOpener(job); err != nil {
				return err
			}
		}
		if err := o.openBlock(ctx, b); err != nil {
			return err
		}
		close(b.done)
	}
	return nil
}

// write spools the blocks in order, each once it is opened.
func (job *openJob) write(
	ctx context.Context, ordered <-chan *block, total int64, progress func(rows, total int64),
) error {
	for b := range ordered {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := job.spool.add(b.opened); err != nil {
			return err
		}
		job.rows += int64(b.rows)
		if progress != nil {
			progress(job.rows, total)
		}
	}
	return nil
}
