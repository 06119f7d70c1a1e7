package etl

import (
	"context"
	"slices"
	"time"

	"cloakroom/dataset"
	"cloakroom/keys"
)

// Batch is a batch of events that are sealed and not yet loaded. Release it.
type Batch struct {
	state    *writerState
	messages []*Message
	ignored  int64   // of the messages, those that were no events
	parts    []*part // one for each dataset of which it holds events, in the state's order
}

// part is what a batch holds of one dataset.
type part struct {
	*datasetState
	rows       []byte // COPY text
	rejections []byte // COPY text
	nRows      int
	nRejected  int
	dropped    map[Dropped]int64
	keys       []monthKey // the data keys that sealed it
}

// monthKey is a data key with what is left of the share that the batch acquired.
type monthKey struct {
	*keys.SealingKey
	seals int
	bytes int
}

// buffers are reused: a batch of 2,000 rows is a megabyte. Not a sync.Pool, which each garbage
// collection empties: at full speed there are several between two batches.
var buffers = make(chan []byte, 16)

func buffer() []byte {
	select {
	case b := <-buffers:
		return b[:0]
	default:
		return nil
	}
}

func newBatch(state *writerState, messages []*Message) *Batch {
	return &Batch{state: state, messages: messages}
}

// part finds or makes the part of a dataset. All batches have theirs in one order, so that two loads do not deadlock.
func (b *Batch) part(d *datasetState) *part {
	at := 0
	for ; at < len(b.parts) && b.parts[at].place <= d.place; at++ {
		if b.parts[at].datasetState == d {
			return b.parts[at]
		}
	}
	p := &part{datasetState: d, rows: buffer(), rejections: buffer()}
	b.parts = slices.Insert(b.parts, at, p)
	return p
}

// Size is how many bytes of COPY text the batch is.
func (b *Batch) Size() (n int) {
	for _, p := range b.parts {
		n += len(p.rows) + len(p.rejections)
	}
	return n
}

// rejected is how many of the batch's events are rejections.
func (b *Batch) rejected() (n int) {
	for _, p := range b.parts {
		n += p.nRejected
	}
	return n
}

// Release gives the buffers to the next batch. This one must not be used afterwards.
func (b *Batch) Release() {
	for _, p := range b.parts {
		for _, kept := range [][]byte{p.rows, p.rejections} {
			if cap(kept) == 0 || cap(kept) > maxKeptBuffer {
				continue
			}
			select {
			case buffers <- kept:
			default:
			}
		}
	}
	b.parts = nil
}

// maxKeptBuffer is in bytes. A batch of huge rejections must not hold its memory from then on.
const maxKeptBuffer = 8 << 20

// first reports that all events were delivered for the first time, as far as the source knows.
func (b *Batch) first() bool {
	return !slices.ContainsFunc(b.messages, func(m *Message) bool { return m.Receives > 1 })
}

func (p *part) addRow(row []byte, e *dataset.Event) {
	p.rows = append(p.rows, row...)
	p.nRows++
	for _, d := range e.Dropped {
		if p.dropped == nil {
			p.dropped = map[Dropped]int64{}
		}
		p.dropped[Dropped{Member: p.definition.Members[d.Member].Name, Reason: d.Reason}]++
	}
}

func (p *part) addRejection(row []byte) {
	p.rejections = append(p.rejections, row...)
	p.nRejected++
}

// key gives a data key of the month of date with room for seals more values. At the first call for a month it acquires a
// share for all messages of the dataset that are left, so that a batch asks the issuer once.
func (p *part) key(ctx context.Context, date time.Time, rest []*Message, seals int) (*keys.SealingKey, error) {
	month := keys.MonthOf(date)
	size := rest[0].size()
	for i := range p.keys {
		k := &p.keys[i]
		if k.Month.Equal(month) && k.seals >= seals && k.bytes >= size {
			k.seals -= seals
			k.bytes -= size
			return k.SealingKey, nil
		}
	}
	wantSeals, wantBytes := 0, 0
	for _, m := range rest {
		if m.Dataset == rest[0].Dataset {
			wantSeals += seals
			wantBytes += m.size()
		}
	}
	k, err := p.issuer.Acquire(ctx, date, uint64(wantSeals), uint64(wantBytes))
	if err != nil {
		return nil, err
	}
	p.keys = append(p.keys, monthKey{SealingKey: k, seals: wantSeals - seals, bytes: wantBytes - size})
	return k, nil
}

// keyIDs lists each key once, with its key check, which load() compares with the vault's.
func (p *part) keyIDs() (ids []int64, checks [][]byte) {
	seen := map[uint32]bool{}
	for i := range p.keys {
		k := p.keys[i]
		if !seen[k.ID()] {
			seen[k.ID()] = true
			ids = append(ids, int64(k.ID()))
			checks = append(checks, k.Check[:])
		}
	}
	return ids, checks
}
