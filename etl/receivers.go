package etl

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// receivers runs between one and Options.Receivers goroutines that call Receive: one more whenever a full receive went
// down the pipeline at once, one fewer whenever there was nothing to receive or the pipeline did not keep up.
type receivers struct {
	*run
	receiving, work context.Context
	stop            context.CancelFunc // ends receiving
	out             chan<- []*Message
	group           errgroup.Group

	mu     sync.Mutex
	active int
}

const (
	fullReceive = 10                    // messages: what SQS hands over at the most
	blocked     = 10 * time.Millisecond // a pipeline that took longer to take a receive is not hungry
)

// receiveAll receives until the source ends or fails, or receiving ends. Whoever waits for it may close out.
func (r *run) receiveAll(receiving context.Context, stop context.CancelFunc, work context.Context, out chan<- []*Message) error {
	p := &receivers{run: r, receiving: receiving, stop: stop, work: work, out: out, active: 1}
	p.group.Go(p.receive)
	return p.group.Wait()
}

func (p *receivers) receive() error {
	for p.receiving.Err() == nil {
		messages, err := p.source.Receive(p.receiving)
		began := time.Now()
		if len(messages) > 0 && !p.pass(messages) {
			return nil
		}
		switch {
		case errors.Is(err, io.EOF), err != nil && p.receiving.Err() != nil:
			return nil
		case err != nil:
			p.stop()
			return err
		}
		slow := time.Since(began) > blocked
		switch {
		case len(messages) >= fullReceive && !slow:
			p.grow()
		case (len(messages) == 0 || slow) && p.shrink():
			return nil
		}
	}
	return nil
}

// pass counts messages and hands them on. It reports false where nobody takes them any more.
func (p *receivers) pass(messages []*Message) bool {
	p.run.mu.Lock()
	p.summary.Received += int64(len(messages))
	p.run.mu.Unlock()
	if p.Observe != nil {
		p.Observe.Received(len(messages))
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

// shrink reports whether the caller is one too many.
func (p *receivers) shrink() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active == 1 {
		return false
	}
	p.active--
	return true
}
