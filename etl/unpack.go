package etl

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/etl/unwrap"
	"cloakroom/internal/objects"
)

// Unwrap says what the bodies of an input are wrapped in. Zero fields take the defaults named beside them.
type Unwrap struct {
	Layers  []unwrap.Kind // from the outermost in
	MaxBody int           // the most that an unpacked event may have, in bytes: 1 MiB
	// Buckets are those into which a pointer may point: any other makes a rejection. Objects reads them.
	Buckets []string
	Objects ObjectReader
	Fetches int // most objects read at once: 16. Each takes MaxBody of memory
}

// ObjectReader reads objects of S3. An error for which objects.Outage holds is an outage; any other is the object's.
type ObjectReader interface {
	Get(ctx context.Context, bucket, key, version string) (io.ReadCloser, objects.Info, error)
}

// maxWaiting is how many messages wait for their objects while others of the input go on: one that S3 refuses must not
// hold up all. They are pointers, so they are small. With more, nothing of the input goes on.
const maxWaiting = 256

// unpacker opens the envelopes of one input's messages, between receiving and batching: what fetches from S3 waits
// here, where only its own input waits with it.
type unpacker struct {
	*lane
	opener   *unwrap.Unwrapper
	out      chan<- []*Message
	waiting  chan struct{} // a place for each message whose object is to be fetched
	fetching chan struct{} // a place for each object that is in memory and not handed on
	fetches  sync.WaitGroup
	fail     context.CancelCauseFunc

	mu   sync.Mutex
	held map[uuid.UUID]bool // messages that wait: one that comes again meanwhile must not wait twice
}

func (l *lane) newUnpacker() *unpacker {
	fetches := l.Unwrap.Fetches
	if fetches == 0 {
		fetches = 16
	}
	return &unpacker{
		lane: l, held: map[uuid.UUID]bool{},
		waiting: make(chan struct{}, maxWaiting), fetching: make(chan struct{}, fetches),
		opener: unwrap.New(unwrap.Config{
			Layers: l.Unwrap.Layers, MaxBody: l.Unwrap.MaxBody, Attribute: l.Route.Attribute,
		}),
	}
}

// unpack opens what is received and passes it on. It returns an error only if the run gives up on S3; stop then ends
// receiving, and what was received and not passed on stays with the source.
func (l *lane) unpack(
	ctx context.Context, stop context.CancelFunc, in <-chan []*Message, out chan<- []*Message,
) error {
	p := l.newUnpacker()
	p.out = out
	ctx, p.fail = context.WithCancelCause(ctx)
	defer p.fail(nil)
	defer context.AfterFunc(ctx, stop)()
	var workers sync.WaitGroup
	for range l.Protectors {
		workers.Go(func() {
			for messages := range in {
				p.open(ctx, messages)
			}
		})
	}
	workers.Wait()
	p.fetches.Wait()
	if err := context.Cause(ctx); errors.Is(err, ErrGaveUp) {
		return err
	}
	return nil
}

// open opens what was received together, and passes on what needs nothing from S3.
func (p *unpacker) open(ctx context.Context, messages []*Message) {
	state := p.writer.current()
	ready := messages[:0:0]
	for _, m := range messages {
		if ctx.Err() != nil {
			return
		}
		o := p.opener.Open(m.Body, state.guard(&p.Input, m))
		if o.Pointer == nil {
			m.opened(o)
			ready = append(ready, m)
			continue
		}
		p.wait(ctx, state, m, o)
	}
	if len(ready) > 0 {
		p.pass(ctx, ready)
	}
}

// wait starts to fetch a message's object, once there is a place for it.
func (p *unpacker) wait(ctx context.Context, state *writerState, m *Message, o unwrap.Opened) {
	id := m.ID
	p.mu.Lock()
	again := p.held[id]
	p.held[id] = true
	p.mu.Unlock()
	if again {
		// The source remembers the newest delivery's handle, so what waits already stands for both.
		p.count(func(s *Summary) { s.Duplicates++ })
		return
	}
	release := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.held, id)
	}
	select {
	case p.waiting <- struct{}{}:
		p.fetches.Go(func() {
			defer func() { release(); <-p.waiting }()
			if err := p.fetch(ctx, state, m, o); err != nil {
				p.fail(err)
			}
		})
	case <-ctx.Done():
		release()
	}
}

func (p *unpacker) pass(ctx context.Context, messages []*Message) {
	select {
	case p.out <- messages:
	case <-ctx.Done():
	}
}

// fetch reads the object that a message points to, through outages, and passes the message on. It returns an error if
// the run gives up.
func (p *unpacker) fetch(ctx context.Context, state *writerState, m *Message, o unwrap.Opened) error {
	doing := "reading a body from S3"
	if p.Name != "" {
		doing = "reading a body of " + p.Name + " from S3"
	}
	outage := &outage{run: p.run, all: &p.fetchOutages, doing: doing}
	defer outage.end()
	for {
		select {
		case p.fetching <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		done, err := p.resume(ctx, state, m, o)
		if err == nil {
			// In its place until it is handed on: that bounds the bodies in memory.
			outage.end()
			p.pass(ctx, []*Message{done})
		}
		<-p.fetching
		if err == nil {
			return nil
		}
		if err := outage.wait(ctx, err); err != nil {
			if errors.Is(err, ErrGaveUp) {
				return err
			}
			return nil
		}
	}
}

// resume follows a message's pointers to the event. An error is an outage.
func (p *unpacker) resume(ctx context.Context, state *writerState, m *Message, o unwrap.Opened) (*Message, error) {
	guard := state.guard(&p.Input, m)
	for o.Pointer != nil {
		at := *o.Pointer
		if !slices.Contains(p.Unwrap.Buckets, at.Bucket) {
			o.Pointer, o.Rejection = nil, dataset.Rejection{Reason: ForeignBucket}
			break
		}
		body, err := p.read(ctx, at)
		switch {
		case err == nil:
			m.object = &at
			o = p.opener.Resume(o, body, guard)
		case ctx.Err() != nil, objects.Outage(err):
			return nil, err
		default:
			// Not there, or there and never to be read as it is.
			o.Pointer, o.Rejection = nil, dataset.Rejection{Reason: ObjectMissing}
		}
	}
	m.opened(o)
	return m, nil
}

// read reads an object, and one byte more than is allowed.
func (p *unpacker) read(ctx context.Context, at unwrap.Pointer) ([]byte, error) {
	body, _, err := p.Unwrap.Objects.Get(ctx, at.Bucket, at.Key, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, int64(p.opener.MaxBody)+1))
}

// opened takes over what was in the envelopes. Their own id and time are the message's from here on: so an event that
// SNS delivers twice, or EventBridge replays, is the same event.
func (m *Message) opened(o unwrap.Opened) {
	if o.ID != "" {
		m.ID, m.Sent, m.DayOnly = MessageID(o.ID), o.Time, false
	}
	if m.Attribute == "" {
		m.Attribute = o.Attribute
	}
	if m.fault = o.Rejection; m.fault.Reason == "" {
		m.event = o.Body
	}
}

// Object is where the event lay in S3, if it did and became a row. The object of a rejection is not named: the
// rejection seals the pointer, and a replay of it reads the object again.
func (m *Message) Object() *unwrap.Pointer {
	if m.rejected {
		return nil
	}
	return m.object
}

// guard are the members that tell an event from an envelope: those at the top that its dataset requires, or the
// route's.
func (s *writerState) guard(in *Input, m *Message) unwrap.Guard {
	if in.Route.Member != "" {
		return unwrap.Guard{in.Route.Member: true}
	}
	for _, name := range []string{m.Dataset, m.Attribute, in.Dataset} {
		if d := s.find(name); name != "" && d != nil {
			return d.guard
		}
	}
	return s.standard.guard
}

// lookAgain looks whether what cannot be stored is S3's test event, which is no event, or an envelope on an input that
// does not say so.
func (p *Protector) lookAgain(in *Input, m *Message, j *judgement) {
	if unwrap.IsTestEvent(m.text()) {
		j.ignored = true
		return
	}
	var declared []unwrap.Kind
	if in.Unwrap != nil {
		declared = in.Unwrap.Layers
	}
	if m.fault.Reason != "" || slices.Contains(declared, unwrap.Auto) {
		return
	}
	found := unwrap.Suggest(m.text(), p.state.guard(in, m))
	if len(found) > 0 && len(declared)+len(found) <= unwrap.MaxLayers {
		layers := slices.Concat(declared, found)
		j.Rejection = dataset.Rejection{Reason: Enveloped, Member: "unwrap=" + unwrap.Format(layers)}
	}
}
