package etl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"cloakroom/internal/queue"
)

// SQSOptions say how a queue is read. Zero fields take the defaults named beside them.
type SQSOptions struct {
	// Once ends the source when the queue is empty: two polls of a second in a row brought nothing, and SQS counts no
	// message visible, invisible or delayed.
	Once bool
	// DryRun ends the source when two polls of a second in a row brought nothing, or as much is held as may be: nothing
	// will be committed, and Close gives all of it back.
	DryRun bool
	// OnceWait is how long Once waits for messages that somebody else holds, such as a killed process: the visibility
	// timeout.
	OnceWait time.Duration
	// MaxOutage is how long the queue may be away before Receive fails; 0: for ever.
	MaxOutage time.Duration
	Log       *slog.Logger // slog.Default
}

// SQS is a source that reads a queue, and deletes what is committed.
type SQS struct {
	SQSOptions
	queue    *queue.Queue
	consumer *queue.Consumer

	mu       sync.Mutex
	empties  int       // polls in a row that brought nothing
	waiting  time.Time // since when Once waits for what others hold
	drained  error     // io.EOF or ErrNotDrained once Once has ended
	holding  int       // messages held when Once last looked for its end
	since    time.Time // since when that many
	undated  bool      // it was said that the server sends no SentTimestamp
	failures failureSpan
	polled   time.Time // when the last poll ended
}

// ErrNotDrained reports that messages are left which somebody else holds.
var ErrNotDrained = errors.New("messages are left that another process holds")

// NewSQS starts to hold messages of a queue. Close it.
func NewSQS(q *queue.Queue, o SQSOptions) *SQS {
	setDefault(&o.OnceWait, q.Visibility())
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &SQS{SQSOptions: o, queue: q, consumer: q.Consume(o.Log), polled: time.Now()}
}

// oncePoll is how long a poll of Once waits.
const oncePoll = time.Second

// Receive polls once. Where the queue is away it waits, with jitter, and returns nothing, until MaxOutage has passed.
func (s *SQS) Receive(ctx context.Context) ([]*Message, error) {
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
	s.mu.Lock()
	s.failures = failureSpan{}
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

// Full reports that no more is received because as much is held as may be: an outage downstream, not a stuck loop.
func (s *SQS) Full() bool { return s.consumer.Full() }

// Healthy returns an error while the queue is away.
func (s *SQS) Healthy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures.began.IsZero() {
		return nil
	}
	return fmt.Errorf("the queue has been away since %s", s.failures.began.UTC().Format(time.RFC3339))
}

func (s *SQS) messages(received []*queue.Message) []*Message {
	out := make([]*Message, len(received))
	for i, m := range received {
		out[i] = &Message{ID: MessageID(m.ID), Date: s.dateOf(m), Body: m.Body, Receives: max(1, m.Receives), Sent: m.Sent, Handle: m}
	}
	return out
}

// dateOf is the UTC date on which a message was sent. A server that does not say (AWS always does) leaves the date of
// receipt, with which a redelivery after midnight would be stored again: said once.
func (s *SQS) dateOf(m *queue.Message) time.Time {
	sent := m.Sent
	if sent.IsZero() {
		sent = time.Now().UTC()
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.undated {
			s.undated = true
			s.Log.Warn("this server sends no SentTimestamp: create_date is the date of receipt, and a message redelivered after midnight UTC would be stored twice; SQS itself always sends it")
		}
	}
	return time.Date(sent.Year(), sent.Month(), sent.Day(), 0, 0, 0, 0, time.UTC)
}

// Committed deletes messages from the queue, soon.
func (s *SQS) Committed(messages []*Message) {
	done := make([]*queue.Message, len(messages))
	for i, m := range messages {
		done[i] = m.Handle.(*queue.Message)
	}
	s.consumer.Done(done)
}

// Held is how many messages are held or being deleted.
func (s *SQS) Held() int { return s.consumer.Held() }

// Close deletes what is committed and makes the rest visible at once.
func (s *SQS) Close(ctx context.Context) {
	undeleted, released := s.consumer.Close(ctx)
	if undeleted > 0 {
		s.Log.Warn("some committed messages could not be deleted: they will come back and be dropped as duplicates", "messages", undeleted)
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
		s.Log.Warn("a dry run looks at no more messages than may be in flight at once: raise --max-in-flight to see more", "messages", s.consumer.Held())
		s.drained = io.EOF
	}
	return s.drained
}

// lookForEnd decides whether the queue is empty. It returns nil where there is reason to poll again.
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
	// What has just become visible gets polls of its own; SQS's counts may also lag behind by a minute.
	waited := time.Since(s.waiting)
	if waited >= s.OnceWait && (a.Visible == 0 || waited >= s.OnceWait+countsLag) {
		s.drained = fmt.Errorf("%w: %d invisible, %d delayed, %d visible, after %v: run again later", ErrNotDrained, a.Invisible, a.Delayed, a.Visible, s.OnceWait)
		return s.drained
	}
	return nil
}

// countsLag is how long Once goes on polling a queue that counts visible messages and hands over none.
const countsLag = time.Minute

// lookStuck gives up where our own messages are neither committed nor deleted for MaxOutage: the deletes fail.
func (s *SQS) lookStuck(held int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held != s.holding {
		s.holding, s.since = held, time.Now()
	}
	if stuck := time.Since(s.since); s.MaxOutage > 0 && stuck >= s.MaxOutage {
		return gaveUp(fmt.Errorf("%d messages are neither committed nor deleted (the log says why): they come back, and are dropped as duplicates if they are stored", held), stuck)
	}
	return nil
}

func (s *SQS) end(with error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drained = with
	return with
}

// failureSpan is a run of failures without a success between.
type failureSpan struct {
	began  time.Time
	logged time.Time
	pause  *backoff.ExponentialBackOff
}

// failed waits after a failure, and gives the failure back once it has lasted too long.
func (s *SQS) failed(ctx context.Context, err error) error {
	s.mu.Lock()
	f := &s.failures
	now := time.Now()
	if f.began.IsZero() {
		f.began = now
		f.pause = backoff.NewExponentialBackOff()
		f.pause.InitialInterval = 200 * time.Millisecond
		f.pause.MaxInterval = 15 * time.Second
	}
	if s.MaxOutage > 0 && now.Sub(f.began) >= s.MaxOutage {
		s.mu.Unlock()
		return gaveUp(err, now.Sub(f.began))
	}
	if now.Sub(f.logged) >= logEvery {
		f.logged = now
		s.Log.Error("the queue is away: trying again", "error", err, "since", f.began.UTC().Format(time.RFC3339))
	}
	pause := f.pause.NextBackOff()
	s.mu.Unlock()
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
