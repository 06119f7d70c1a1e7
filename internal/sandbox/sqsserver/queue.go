package sqsserver

import (
	"sync"
	"time"
)

// queue is one standard queue. Its lock is never held while another queue's is.
type queue struct {
	name string
	arn  string
	id   uint32 // of the server's queues, never used twice
	now  func() time.Time

	mu         sync.Mutex
	gone       bool // deleted; who still holds the pointer must let go
	attributes attributes
	created    time.Time
	purged     time.Time

	slots   slots
	ready   ring
	timers  deadlines
	serial  uint64
	given   int64             // messages given out, over and over where they were
	counts  [inFlight + 1]int // messages in each state
	pollers pollers
	hooks   hooks
}

func newQueue(name, arn string, id uint32, a attributes, now func() time.Time) *queue {
	q := &queue{name: name, arn: arn, id: id, now: now, attributes: a, created: now()}
	q.timers.slots = &q.slots
	q.pollers.alarm = time.AfterFunc(time.Hour, q.onAlarm)
	q.pollers.alarm.Stop()
	return q
}

func (q *queue) millis() int64 { return q.now().UnixMilli() }

// add puts messages in, delayed where delay says so. The caller holds the lock.
func (q *queue) add(m message, delay time.Duration) {
	q.serial++
	m.serial = q.serial
	m.state = free
	slot := q.slots.add(m)
	if delay > 0 {
		q.schedule(slot, delayed, q.millis()+delay.Milliseconds())
		return
	}
	q.show(slot)
}

// show makes a message visible and tells who waits for one.
func (q *queue) show(slot uint32) {
	m := q.slots.at(slot)
	q.enter(m, ready)
	m.stamp++
	q.ready.push(place{slot, m.stamp})
	q.pollers.wake(1)
}

// schedule hides a message until due.
func (q *queue) schedule(slot uint32, s state, due int64) {
	q.enter(q.slots.at(slot), s)
	q.timers.add(slot, due)
	q.setAlarm()
}

func (q *queue) enter(m *message, s state) {
	if m.state != free {
		q.counts[m.state]--
	}
	if s != free {
		q.counts[s]++
	}
	m.state = s
}

// promote makes visible what is due.
func (q *queue) promote() {
	now := q.millis()
	for {
		due, ok := q.timers.next()
		if !ok || due > now {
			return
		}
		slot := q.timers.heap[0].slot
		q.timers.remove(slot)
		q.show(slot)
	}
}

// take removes the next visible message from the ready ring.
func (q *queue) take() (uint32, *message, bool) {
	for {
		p, ok := q.ready.pop()
		if !ok {
			return 0, nil, false
		}
		if m := q.slots.at(p.slot); m.state == ready && m.stamp == p.stamp {
			return p.slot, m, true
		}
	}
}

// drop takes a message out of the queue for good.
func (q *queue) drop(slot uint32) {
	m := q.slots.at(slot)
	if m.state == inFlight || m.state == delayed {
		q.timers.remove(slot)
	}
	madeRoom := m.state == inFlight && q.counts[ready] > 0
	q.enter(m, free)
	q.slots.remove(slot)
	if madeRoom {
		q.pollers.wake(1)
	}
}

// clear drops every message.
func (q *queue) clear() {
	q.slots, q.ready, q.timers.heap = slots{}, ring{}, nil
	q.counts = [inFlight + 1]int{}
}

// find returns the message that a handle was given out for, unless it was deleted since.
func (q *queue) find(h handle) (*message, bool) {
	m := q.slots.at(h.slot)
	if m == nil || m.state == free || m.serial != h.serial {
		return nil, false
	}
	return m, true
}
