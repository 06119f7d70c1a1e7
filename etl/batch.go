package etl

import (
	"context"
	"slices"
	"time"

	"cloakroom/keys"
)

// Batch is a batch of events that are sealed and not yet loaded. Release it.
type Batch struct {
	state      *writerState
	messages   []*Message
	rows       []byte // COPY text
	rejections []byte // COPY text
	nRows      int
	nRejected  int
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
	return &Batch{state: state, messages: messages, rows: buffer(), rejections: buffer()}
}

// Size is how many bytes of COPY text the batch is.
func (b *Batch) Size() int { return len(b.rows) + len(b.rejections) }

// Release gives the buffers to the next batch. This one must not be used afterwards.
func (b *Batch) Release() {
	for _, kept := range [][]byte{b.rows, b.rejections} {
		if cap(kept) == 0 || cap(kept) > maxKeptBuffer {
			continue
		}
		select {
		case buffers <- kept:
		default:
		}
	}
	b.rows, b.rejections = nil, nil
}

// maxKeptBuffer is in bytes. A batch of huge rejections must not hold its memory from then on.
const maxKeptBuffer = 8 << 20

// first reports that all events were delivered for the first time, as far as the source knows.
func (b *Batch) first() bool {
	return !slices.ContainsFunc(b.messages, func(m *Message) bool { return m.Receives > 1 })
}

func (b *Batch) addRow(row []byte) {
	b.rows = append(b.rows, row...)
	b.nRows++
}

func (b *Batch) addRejection(row []byte) {
	b.rejections = append(b.rejections, row...)
	b.nRejected++
}

// key gives a data key of the month of date with room for seals more values. At the first call for
// a month it acquires a share for all messages that are left, so that a batch asks the issuer once.
func (b *Batch) key(
	ctx context.Context, issuer *keys.Issuer, date time.Time, rest []*Message, seals int,
) (*keys.SealingKey, error) {
	month := keys.MonthOf(date)
	size := len(rest[0].Body)
	for i := range b.keys {
		k := &b.keys[i]
		if k.Month.Equal(month) && k.seals >= seals && k.bytes >= size {
			k.seals -= seals
			k.bytes -= size
			return k.SealingKey, nil
		}
	}
	wantSeals, wantBytes := 0, 0
	for _, m := range rest {
		wantSeals += seals
		wantBytes += len(m.Body)
	}
	k, err := issuer.Acquire(ctx, date, uint64(wantSeals), uint64(wantBytes))
	if err != nil {
		return nil, err
	}
	b.keys = append(b.keys, monthKey{SealingKey: k, seals: wantSeals - seals, bytes: wantBytes - size})
	return k, nil
}

// keyIDs lists each key once, with its key check, which load() compares with the vault's.
func (b *Batch) keyIDs() (ids []int64, checks [][]byte) {
	seen := map[uint32]bool{}
	for i := range b.keys {
		k := b.keys[i]
		if !seen[k.ID()] {
			seen[k.ID()] = true
			ids = append(ids, int64(k.ID()))
			checks = append(checks, k.Check[:])
		}
	}
	return ids, checks
}
