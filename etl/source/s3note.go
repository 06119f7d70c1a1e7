package source

import (
	"context"
	"time"

	"cloakroom/etl"
)

// noteEvery is how often the vault is told how far the objects have come. A run that is killed repeats what it
// committed since, and drops it as duplicates.
const noteEvery = time.Second

// Committed notes which events need not be read again.
func (s *S3) Committed(messages []*etl.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		c := m.Handle.(*chunk)
		if c.left--; c.left > 0 {
			continue
		}
		// Batches are committed in any order: an object has come as far as everything before is committed.
		o := c.of
		for len(o.chunks) > 0 && o.chunks[0].left == 0 {
			o.position, o.chunks = o.chunks[0].end, o.chunks[1:]
			s.dirty[o] = true
		}
	}
}

// finished says that an object is read to its end, and how many of its events were left out.
func (s *S3) finished(o *object, leftOut int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.read = true
	s.dirty[o] = true
	s.counts.Read++
	s.counts.EventsBefore += leftOut
}

// note tells the vault now and then, until the context ends.
func (s *S3) note(ctx context.Context) {
	defer close(s.noted)
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.noteNow(ctx); err != nil && ctx.Err() == nil {
			s.logged.Do(func() { s.Log.Warn("cannot note how far reading has come: trying again", "error", err) })
		}
	}
}

// noteNow tells the vault how far the objects have come that moved since it was told last.
func (s *S3) noteNow(ctx context.Context) error {
	s.mu.Lock()
	moved := s.dirty
	s.dirty = map[*object]bool{}
	var records []etl.SourceRecord
	for o := range moved {
		records = append(records, etl.SourceRecord{
			Name: o.name, Position: o.position, Finished: o.read && len(o.chunks) == 0,
		})
	}
	s.mu.Unlock()
	if len(records) == 0 || s.DryRun {
		return nil
	}
	err := s.writer.NoteSources(ctx, records)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for o := range moved {
			s.dirty[o] = true
		}
	}
	return err
}
