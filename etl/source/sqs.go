// Package source has the sources of package etl: an SQS queue, a file, and messages at hand, such
// as the records with which a Lambda function is called.
package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cloakroom/etl"
	"cloakroom/internal/queue"
	"cloakroom/internal/retry"
)

// SQSOptions say how a queue is read. Zero fields take the defaults named beside them.
type SQSOptions struct {
	// Once ends the source when the queue is empty: two polls of a second in a row brought nothing,
	// and SQS counts no message visible, invisible or delayed.
	Once bool
	// DryRun ends the source when two polls of a second in a row brought nothing, or when as much
	// is held as allowed. Nothing will be committed, and Close gives all of it back.
	DryRun bool
	// OnceWait is how long Once waits for messages that another process holds, which may have been
	// killed: the visibility timeout.
	OnceWait time.Duration
	// MaxOutage is how long the queue may be away before Receive fails; 0: no limit.
	MaxOutage time.Duration
	Log       *slog.Logger // slog.Default
	// Objects deletes the object in which an event lay, once its row is committed and its message deleted; nil: objects
	// are kept.
	Objects ObjectDeleter
}

// SQS is a source that reads a queue, and deletes what is committed.
type SQS struct {
	SQSOptions
	queue    *queue.Queue
	consumer *queue.Consumer
	objects  *deletions // nil: objects are kept
	undated  sync.Once  // says that the server sends no SentTimestamp

	mu      sync.Mutex
	empties int       // polls in a row that brought nothing
	waiting time.Time // since when Once waits for what others hold
	drained error     // io.EOF or ErrNotDrained once Once has ended
	holding int       // messages held when Once last looked for its end
	since   time.Time // since when that many
	away    *outage   // nil: the last call to the queue succeeded
	polled  time.Time // when the last poll ended
}

// outage is a row of failed calls without a success between.
type outage struct {
	began time.Time
	log   rate.Sometimes
	pacer *retry.Pacer
}

// ErrNotDrained reports that messages are left which somebody else holds.
var ErrNotDrained = errors.New("messages are left that another process holds")

// NewSQS starts to hold messages of a queue. Close it.
func NewSQS(q *queue.Queue, o SQSOptions) *SQS {
	o.OnceWait = cmp.Or(o.OnceWait, q.Visibility())
	o.Log = cmp.Or(o.Log, slog.Default())
	s := &SQS{SQSOptions: o, queue: q, consumer: q.Consume(o.Log), polled: time.Now()}
	if o.Objects != nil {
		s.objects = newDeletions(o.Objects, o.Log)
	}
	return s
}

// Between two tries while the queue or S3 is away.
const (
	pauseFirst = 200 * time.Millisecond
	pauseMax   = 15 * time.Second
)

// oncePoll is how long a poll of Once waits.
const oncePoll = time.Second

// Receive polls once. While the queue is away it pauses and returns nothing, until MaxOutage has
// passed.
func (s *SQS) Receive(ctx context.Context) ([]*etl.Message, error) {
	var wait time.Duration
	if s.Once || s.DryRun {
		wait = oncePoll
		if err := s.ended(); err != nil {
			return nil, err
		}
	}
	received, err := s.poll(ctx, wait)
	if ctx.Err() != nil && len(received) == 0 {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	s.answered()
	s.mu.Lock()
	if len(received) > 0 {
		s.empties, s.waiting = 0, time.Time{}
	} else {
		s.empties++
	}
	look := (s.Once || s.DryRun) && s.empties >= 2
	s.mu.Unlock()
	if look {
		return nil, s.lookForEnd(ctx)
	}
	return s.messages(received), nil
}

func (s *SQS) poll(ctx context.Context, wait time.Duration) ([]*queue.Message, error) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.polled = time.Now()
	}()
	return s.consumer.Receive(ctx, wait)
}

// LastPoll is when the last poll ended; the source's start before the first.
func (s *SQS) LastPoll() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polled
}

// Full reports that nothing more is received because as much is held as allowed: an outage
// downstream, not a stuck loop.
func (s *SQS) Full() bool { return s.consumer.Full() }

// Healthy returns an error while the queue is away.
func (s *SQS) Healthy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away == nil {
		return nil
	}
	return fmt.Errorf("the queue has been away since %s", s.away.began.UTC().Format(time.RFC3339))
}

func (s *SQS) messages(received []*queue.Message) []*etl.Message {
	out := make([]*etl.Message, len(received))
	for i, m := range received {
		sent, dayOnly := s.sentAt(m)
		out[i] = &etl.Message{
			ID: etl.MessageID(m.ID), Sent: sent, DayOnly: dayOnly, Body: m.Body, Receives: max(1, m.Receives),
			Attribute: m.Attribute, Handle: m,
		}
	}
	return out
}

// sentAt is when a message was sent. AWS always says it. For a server that does not, it is the day of receipt and no
// time, so that a redelivery on that day has the same, and the log says so once.
func (s *SQS) sentAt(m *queue.Message) (sent time.Time, dayOnly bool) {
	if m.Sent.IsZero() {
		s.undated.Do(func() {
			s.Log.Warn("this server sends no SentTimestamp: create_date is the date of receipt, and a message " +
				"redelivered after midnight UTC is stored twice; SQS itself always sends it")
		})
		return dayOf(time.Now()), true
	}
	return m.Sent, false
}

// dayOf is the day of a time, UTC. Not Truncate: that is wrong for years before 1.
func dayOf(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

// Committed deletes messages from the queue, soon.
func (s *SQS) Committed(messages []*etl.Message) {
	done := make([]*queue.Message, len(messages))
	for i, m := range messages {
		done[i] = m.Handle.(*queue.Message)
		if at := m.Object(); at != nil && s.objects != nil {
			// After the message, never before it: a message whose object is gone would come back as a rejection.
			done[i].Deleted = func() { s.objects.add(*at) }
		}
	}
	s.consumer.Done(done)
}

// Held is how many messages are held or being deleted.
func (s *SQS) Held() int { return s.consumer.Held() }

// Close deletes what is committed and makes the rest visible at once.
func (s *SQS) Close(ctx context.Context) {
	undeleted, released := s.consumer.Close(ctx)
	if s.objects != nil {
		s.objects.close(ctx)
	}
	if undeleted > 0 {
		s.Log.Warn("some committed messages could not be deleted: they come back and are dropped as duplicates",
			"messages", undeleted)
	}
	if released > 0 {
		s.Log.Info("gave back what was not committed", "messages", released)
	}
}

// ended says whether Once or DryRun has found its end.
func (s *SQS) ended() error {
	full := s.DryRun && s.consumer.Full()
	s.mu.Lock()
	defer s.mu.Unlock()
	if full && s.drained == nil {
		s.Log.Warn("a dry run holds all that it looks at: raise --max-in-flight to see more",
			"messages", s.consumer.Held())
		s.drained = io.EOF
	}
	return s.drained
}

// lookForEnd decides whether the queue is empty. It returns nil if there is reason to poll again.
func (s *SQS) lookForEnd(ctx context.Context) error {
	if s.DryRun {
		return s.end(io.EOF)
	}
	if held := s.consumer.Held(); held > 0 {
		return s.lookStuck(held)
	}
	a, err := s.queue.Attributes(ctx)
	if err != nil {
		return s.failed(ctx, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.empties < 2:
		return nil // another receiver found something meanwhile
	case a.Empty():
		s.drained = io.EOF
		return s.drained
	case s.waiting.IsZero():
		s.waiting = time.Now()
	}
	// What has just become visible is polled for; SQS's counts may also be a minute old.
	waited := time.Since(s.waiting)
	if waited >= s.OnceWait && (a.Visible == 0 || waited >= s.OnceWait+countsLag) {
		s.drained = fmt.Errorf("%w: %d invisible, %d delayed, %d visible, after %v: run again later",
			ErrNotDrained, a.Invisible, a.Delayed, a.Visible, s.OnceWait)
		return s.drained
	}
	return nil
}

// countsLag is how long Once goes on polling a queue that counts visible messages and hands over
// none. SQS says that its counts are consistent a minute after the last change.
const countsLag = time.Minute

// lookStuck gives up if our own messages are neither committed nor deleted for MaxOutage: the
// deletes fail.
func (s *SQS) lookStuck(held int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held != s.holding {
		s.holding, s.since = held, time.Now()
	}
	if stuck := time.Since(s.since); s.MaxOutage > 0 && stuck >= s.MaxOutage {
		return etl.GaveUp(fmt.Errorf("%d messages are neither committed nor deleted (the log says why): "+
			"they come back, and are dropped as duplicates if they are stored", held), stuck)
	}
	return nil
}

func (s *SQS) end(with error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drained = with
	return with
}

// answered ends an outage of the queue, and logs that.
func (s *SQS) answered() {
	s.mu.Lock()
	away := s.away
	s.away = nil
	s.mu.Unlock()
	if away != nil {
		s.Log.Info("the queue answers again",
			"lasted", time.Since(away.began).Round(time.Millisecond), "held", s.consumer.Held())
	}
}

// failed pauses after a failure, and returns the failure once the outage has lasted too long.
func (s *SQS) failed(ctx context.Context, err error) error {
	s.mu.Lock()
	if s.away == nil {
		s.away = &outage{
			began: time.Now(), log: rate.Sometimes{Interval: etl.LogEvery},
			pacer: retry.Pauses{First: pauseFirst, Max: pauseMax}.Pacer(),
		}
	}
	away := s.away
	pause := away.pacer.Next()
	s.mu.Unlock()
	if lasted := time.Since(away.began); s.MaxOutage > 0 && lasted >= s.MaxOutage {
		return etl.GaveUp(err, lasted)
	}
	away.log.Do(func() {
		s.Log.Error("the queue is away: trying again", "error", err, "since", away.began.UTC().Format(time.RFC3339))
	})
	return retry.Sleep(ctx, pause)
}
