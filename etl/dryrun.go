package etl

import (
	"context"
	"errors"
	"io"
	"time"
)

// DryRun decodes and tokenises events and counts what would become of them, until the source ends. It seals, writes and
// deletes nothing; duplicates count as stored, since only the database could tell.
func DryRun(ctx context.Context, w *Writer, source Source) (Summary, error) {
	s := Summary{Rejections: map[Reason]int64{}}
	p := newProtector(w)
	p.use(w.current())
	began := time.Now()
	for {
		messages, err := source.Receive(ctx)
		s.Received += int64(len(messages))
		for _, m := range messages {
			reason := p.judge(m)
			if reason == "" {
				s.Stored++
				continue
			}
			s.Rejected++
			s.Rejections[reason]++
		}
		s.Seconds = time.Since(began).Seconds()
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return s, nil
		case err != nil:
			return s, err
		}
	}
}

// judge says why an event would be rejected, or nothing.
func (p *protector) judge(m *Message) Reason {
	e, reason := p.decoder.decode(m.Body)
	switch {
	case reason != "":
		return reason
	case p.state.outside(m.Date):
		return BadDate
	}
	return p.tokenise(e)
}
