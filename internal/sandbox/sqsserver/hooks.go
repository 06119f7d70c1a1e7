package sqsserver

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"

	"cloakroom/internal/sandbox/awswire"
)

// hooks are a queue's misdeeds on order, all of them things that AWS may do. The queue's lock guards them.
type hooks struct {
	twice   int // messages to deliver twice within one receive
	corrupt int // messages to deliver with the digest of another body
}

// delivered spoils the delivery just made, if that is on order.
func (h *hooks) delivered(out []delivery) []delivery {
	if h.corrupt > 0 {
		h.corrupt--
		out[len(out)-1].md5[0] ^= 0xff
	}
	return out
}

// Inject orders a fault of whole calls and returns how to call it off. Ops are named as on the wire, "ReceiveMessage".
func (s *Server) Inject(f awswire.Fault) (cancel func()) { return s.faults.Inject(f) }

// queueOf is the name of the queue that a call is about.
func queueOf(c *awswire.Call) string {
	var about struct{ QueueUrl string }
	if json.Unmarshal(c.Body, &about) != nil {
		return ""
	}
	return about.QueueUrl[strings.LastIndexByte(about.QueueUrl, '/')+1:]
}

// ClearFaults calls off every fault of calls and of batch entries.
func (s *Server) ClearFaults() {
	s.faults.Clear()
	s.entries.clear()
}

// DeliverTwice makes the next n messages that are received come twice in the same answer, each time with a handle of
// its own, of which the second is the one that counts.
func (s *Server) DeliverTwice(queue string, n int) { s.hook(queue, func(h *hooks) { h.twice = n }) }

// CorruptMD5 makes the next n messages that are received come with a wrong MD5OfBody, on which the SDK fails the
// whole receive.
func (s *Server) CorruptMD5(queue string, n int) { s.hook(queue, func(h *hooks) { h.corrupt = n }) }

func (s *Server) hook(queue string, set func(*hooks)) {
	if q := s.queueNamed(queue); q != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		set(&q.hooks)
	}
}

// Redeliver makes messages in flight visible at once, as if their visibility timeout had run out: those with these
// ids, or all when none is given. It returns how many.
func (s *Server) Redeliver(queue string, ids ...string) int {
	q := s.queueNamed(queue)
	if q == nil {
		return 0
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	q.slots.each(func(slot uint32, m *message) {
		if m.state == inFlight && (len(ids) == 0 || wanted[m.idText()]) {
			q.timers.remove(slot)
			q.show(slot)
			n++
		}
	})
	return n
}

// FailEntries makes the entries at these positions fail with err in the next times batches of op, a batch operation
// by its name on the wire, while the batch's other entries succeed.
func (s *Server) FailEntries(op string, times int, err *awswire.Error, positions ...int) {
	s.entries.add(entryFault{op: op, times: times, err: err, positions: positions})
}

// entryFaults are the partial failures on order.
type entryFaults struct {
	armed atomic.Bool
	mu    sync.Mutex
	list  []entryFault
}

type entryFault struct {
	op        string
	times     int
	err       *awswire.Error
	positions []int
}

func (f *entryFaults) add(fault entryFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fault)
	f.armed.Store(true)
}

func (f *entryFaults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
	f.armed.Store(false)
}

// next returns the fault that meets a batch of op; the zero value fails nothing.
func (f *entryFaults) next(op string) entryFault {
	if !f.armed.Load() {
		return entryFault{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.list {
		if f.list[i].op == op && f.list[i].times > 0 {
			f.list[i].times--
			return f.list[i]
		}
	}
	return entryFault{}
}

func (f *entryFault) at(position int) error {
	for _, p := range f.positions {
		if p == position {
			return f.err
		}
	}
	return nil
}
