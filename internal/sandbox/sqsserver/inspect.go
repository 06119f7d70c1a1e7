package sqsserver

import (
	"cmp"
	"slices"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// Counts is how many messages a queue holds.
type Counts struct{ Visible, InFlight, Delayed int }

// Total is all of them.
func (c Counts) Total() int { return c.Visible + c.InFlight + c.Delayed }

// Counts of a queue; of one that does not exist, all zero.
func (s *Server) Counts(queue string) Counts {
	q := s.queueNamed(queue)
	if q == nil {
		return Counts{}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.promote()
	return Counts{Visible: q.counts[ready], InFlight: q.counts[inFlight], Delayed: q.counts[delayed]}
}

// Deliveries is how many messages a queue gave out so far, each as often as it was received.
func (s *Server) Deliveries(queue string) int64 {
	q := s.queueNamed(queue)
	if q == nil {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.given
}

// Put places messages in a queue, visible at once, without the wire: with ids and times of one's own if need be, so
// that a test can fill several months. It checks nothing.
func (s *Server) Put(queue string, messages ...Message) error {
	q := s.queueNamed(queue)
	if q == nil {
		return ErrQueueDoesNotExist
	}
	now := q.millis()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return ErrQueueDoesNotExist
	}
	for _, m := range messages {
		q.add(newMessage(m, now), 0)
	}
	return nil
}

// Messages are all messages of a queue, visible or not, in the order in which they were put in.
func (s *Server) Messages(queue string) []Message { return s.look(queue, false) }

// Drain is Messages, and empties the queue: what a ledger counts as left over.
func (s *Server) Drain(queue string) []Message { return s.look(queue, true) }

func (s *Server) look(queue string, empty bool) []Message {
	q := s.queueNamed(queue)
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var found []*message
	q.slots.each(func(_ uint32, m *message) { found = append(found, m) })
	slices.SortFunc(found, func(a, b *message) int { return cmp.Compare(a.serial, b.serial) })
	messages := make([]Message, 0, len(found))
	for _, m := range found {
		messages = append(messages, m.public())
	}
	if empty {
		q.clear()
	}
	return messages
}

// Call is one request that the server answered, refused or dropped. It holds no bodies.
type Call struct {
	Time      time.Time // when it came
	Took      time.Duration
	Op        string // empty when the request named none
	AccessKey string // empty when the request was not signed
	RequestID string
	Outcome   string // "ok", "dropped" or the shape of the error
}

// Calls are the latest calls, oldest first.
func (s *Server) Calls() []Call { return s.calls.All() }

func (s *Server) observe(c *awswire.Call, outcome error) {
	if s.config.CallLog < 0 {
		return
	}
	s.calls.Add(Call{
		Time: c.Start, Took: s.config.Now().Sub(c.Start), Op: c.Op, AccessKey: c.AccessKey,
		RequestID: c.RequestID(), Outcome: awswire.Outcome(outcome),
	})
}
