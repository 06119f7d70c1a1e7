package sqsserver

import (
	"slices"
	"time"
)

// pollers are the receives that wait for a message, longest wait first. The queue's lock guards them.
type pollers struct {
	waiting []chan struct{}
	alarm   *time.Timer // rings when the soonest deadline is due, armed only while somebody waits
	alarmAt int64
}

func (p *pollers) join() chan struct{} {
	woken := make(chan struct{}, 1)
	p.waiting = append(p.waiting, woken)
	return woken
}

// leave takes a poller off the list. One that was woken already and goes without having looked passes it on.
func (p *pollers) leave(woken chan struct{}) {
	if i := slices.Index(p.waiting, woken); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	p.wake(1)
}

// wake tells the n that waited longest to look again.
func (p *pollers) wake(n int) {
	for n > 0 && len(p.waiting) > 0 {
		p.waiting[0] <- struct{}{}
		p.waiting = slices.Delete(p.waiting, 0, 1)
		n--
	}
}

// setAlarm arms the alarm for the soonest deadline. The caller holds the lock.
func (q *queue) setAlarm() {
	if len(q.pollers.waiting) == 0 {
		return
	}
	due, ok := q.timers.next()
	if !ok || due == q.pollers.alarmAt {
		return
	}
	q.pollers.alarmAt = due
	q.pollers.alarm.Reset(time.Duration(due-q.millis()) * time.Millisecond)
}

func (q *queue) onAlarm() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pollers.alarmAt = 0
	q.promote()
	q.setAlarm()
}

// dismiss ends every wait because the queue is gone. The caller holds the lock.
func (q *queue) dismiss() {
	q.gone = true
	q.pollers.alarm.Stop()
	q.pollers.wake(len(q.pollers.waiting))
}
