package etl

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Source hands over events. Receive returns the next ones and waits for them if it has to; io.EOF
// means that there are no more. After a Receive fails with another error, Run commits what it has
// in hand and ends.
//
// Up to Options.Receivers goroutines call it at once.
type Source interface {
	Receive(ctx context.Context) ([]*Message, error)
}

// Committer is a source that wants to know which of its events are committed, so that it can delete
// them from a queue. The loaders call it, so it must not block for long.
type Committer interface {
	Committed(messages []*Message)
}

// receivers runs between one and Options.Receivers goroutines that call Receive of one source. It adds one when a
// full receive went down the pipeline at once, and ends one when there was nothing to receive or
// the pipeline applied back-pressure.
type receivers struct {
	*lane
	receiving, work context.Context
	stop            context.CancelFunc // ends receiving
	out             chan<- []*Message
	group           errgroup.Group

	mu     sync.Mutex
	active int
}

const (
	// fullReceive is the most that SQS hands over in one call, in messages.
	fullReceive = 10
	// slowHandover is when a pipeline that takes a receive is applying back-pressure. A channel
	// with room takes microseconds.
	slowHandover = 10 * time.Millisecond
)

// receiveAll receives until the source ends or fails, or receiving ends. When it returns, nothing
// more is sent to out.
func (l *lane) receiveAll(
	receiving context.Context, stop context.CancelFunc, work context.Context, out chan<- []*Message,
) error {
	p := &receivers{lane: l, receiving: receiving, stop: stop, work: work, out: out, active: 1}
	p.group.Go(p.receive)
	return p.group.Wait()
}

func (p *receivers) receive() error {
	for p.receiving.Err() == nil {
		messages, err := p.Source.Receive(p.receiving)
		began := time.Now()
		if len(messages) > 0 && !p.handOver(messages) {
			return nil
		}
		switch {
		case errors.Is(err, io.EOF), err != nil && p.receiving.Err() != nil:
			return nil
		case err != nil:
			p.stop()
			return err
		}
		slow := time.Since(began) > slowHandover
		switch {
		case len(messages) >= fullReceive && !slow:
			p.grow()
		case (len(messages) == 0 || slow) && p.shrink():
			return nil
		}
	}
	return nil
}

// handOver counts messages and passes them on. It returns false when the stages after it have ended.
func (p *receivers) handOver(messages []*Message) bool {
	p.count(func(s *Summary) { s.Received += int64(len(messages)) })
	if p.Observe != nil {
		p.Observe.Received(p.Name, len(messages))
	}
	select {
	case p.out <- messages:
		return true
	case <-p.work.Done():
		return false
	}
}

func (p *receivers) grow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active < p.Receivers && p.receiving.Err() == nil {
		p.active++
		p.group.Go(p.receive)
	}
}

// shrink reports whether the caller should end. The last receiver never does.
func (p *receivers) shrink() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active == 1 {
		return false
	}
	p.active--
	return true
}

// collect groups messages into batches. It sends a batch when it is full by rows or bytes, when its
// first event has waited for BatchDelay, or when the input has ended.
func (l *lane) collect(ctx context.Context, in <-chan []*Message, out chan<- parcel) error {
	var batch []*Message
	size := 0
	timer := time.NewTimer(l.BatchDelay)
	timer.Stop()
	defer timer.Stop()
	flush := func() error {
		timer.Stop()
		if len(batch) == 0 {
			return nil
		}
		select {
		case out <- parcel{l, batch}:
			batch, size = nil, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		select {
		case messages, open := <-in:
			if !open {
				return flush()
			}
			for _, m := range messages {
				if size+m.size() > l.BatchBytes {
					if err := flush(); err != nil {
						return err
					}
				}
				if len(batch) == 0 {
					timer.Reset(l.BatchDelay)
				}
				batch = append(batch, m)
				size += m.size()
				if len(batch) >= l.BatchRows {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		case <-timer.C:
			if err := flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
