package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"cloakroom/etl"
	"cloakroom/internal/events"
	"cloakroom/internal/objects"
)

// chunkBytes is how many bytes of events are handed over at once, or one event that is longer.
const chunkBytes = 1 << 20

// read hands over the events of one object. It returns an error only if reading as a whole cannot go on: what is wrong
// with the object is counted and logged, and the others are read.
func (s *S3) read(ctx context.Context, o *object) error {
	in := &storedBody{s: s, ctx: ctx, ref: o.ref}
	defer in.close()
	var held []*etl.Message
	var position int64
	size := 0
	flush := func() error {
		err := s.handOver(ctx, o, held, position)
		held, size = nil, 0
		return err
	}
	receives := 1
	if o.seen {
		receives = 2 // the load then looks for each row first
	}
	r, err := events.NewReader(in)
	for err == nil {
		var body []byte
		if body, err = r.Next(); err != nil {
			break
		}
		if position++; position <= o.begin {
			continue
		}
		held = append(held, &etl.Message{
			ID: etl.FileEventID(o.name, position-1), Sent: o.date.Add(time.Duration(position-1) * time.Microsecond),
			DayOnly: true, Body: body, Receives: receives,
		})
		if size += len(body); len(held) == fileBatch || size >= chunkBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	// What stands before an error is handed over, too.
	if err := flush(); err != nil {
		return err
	}
	if err == io.EOF {
		s.finished(o, min(position, o.begin))
		return nil
	}
	line := int64(1)
	if r != nil {
		line = r.Line() + 1
	}
	return s.failed(ctx, o, in.err, line, err)
}

// failed sorts what ended the reading of an object before its end: stored is S3's error, if it was one.
func (s *S3) failed(ctx context.Context, o *object, stored error, line int64, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(stored, etl.ErrGaveUp):
		return fmt.Errorf("reading %s: %w", o.name, stored)
	case errors.Is(stored, objects.ErrNotFound):
		s.count(func(c *S3Counts) { c.Deleted++ })
		s.Log.Warn("an object was deleted before it was read to its end", "object", o.name)
	case errors.Is(stored, objects.ErrChanged):
		s.count(func(c *S3Counts) { c.Changed++ })
		s.Log.Warn("an object was overwritten before it was read to its end", "object", o.name)
	case stored != nil:
		s.fail(o, stored.Error())
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.fail(o, fmt.Sprintf("line %d: the compressed data breaks off", line))
	default:
		s.fail(o, fmt.Sprintf("line %d: %v", line, err))
	}
	return nil
}

// fail counts an object that cannot be read.
func (s *S3) fail(o *object, why string) {
	s.Log.Error("cannot read an object", "object", o.name, "error", why)
	s.count(func(c *S3Counts) {
		if c.Failed++; c.FirstFailure == "" {
			c.FirstFailure = o.name + ": " + why
		}
	})
}

// handOver passes on events of an object that end before a position, and remembers them until they are committed.
func (s *S3) handOver(ctx context.Context, o *object, messages []*etl.Message, position int64) error {
	if len(messages) == 0 {
		return nil
	}
	c := &chunk{of: o, end: position, left: len(messages)}
	for _, m := range messages {
		m.Handle = c
	}
	s.mu.Lock()
	o.chunks = append(o.chunks, c)
	s.mu.Unlock()
	select {
	case s.out <- messages:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// storedBody reads an object's bytes through outages: it goes on at the byte at which it was cut off. A version does
// not change; of an object without one, the ETag says whether it did.
type storedBody struct {
	s      *S3
	ctx    context.Context
	ref    objects.Ref
	in     io.ReadCloser // nil: not open
	offset int64
	err    error // how reading failed; io.EOF is no failure
}

func (b *storedBody) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	ended := false
	b.err = b.s.try(b.ctx, func() error {
		if b.in == nil {
			in, _, err := b.s.client.GetFrom(b.ctx, b.ref, b.offset)
			if err != nil {
				return err
			}
			b.in = in
		}
		n, err = b.in.Read(p)
		b.offset += int64(n)
		b.s.bytes.Add(int64(n))
		switch {
		case err == nil:
			return nil
		case err == io.EOF:
			ended = true
			return nil
		}
		b.close()
		if n > 0 {
			return nil // the next read finds out what is wrong
		}
		return err
	})
	if b.err == nil && ended {
		return n, io.EOF
	}
	return n, b.err
}

func (b *storedBody) close() {
	if b.in != nil {
		_ = b.in.Close() // what was read is read
		b.in = nil
	}
}
