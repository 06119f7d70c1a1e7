package etl

import (
	"context"
	"errors"
	"io"
	"time"
)

// DryRun decodes events, makes their tokens and counts what would become of them, until each input
// ends. It seals, writes and deletes nothing. Duplicates count as stored: only the database could
// tell.
//
// It reads one input after the other: nothing waits for what it does.
func DryRun(ctx context.Context, w *Writer, inputs []Input) (Summary, error) {
	r, err := newRun(w, inputs, Options{})
	if err != nil {
		return newSummary(), err
	}
	p := NewProtector(w)
	if err := p.use(w.current()); err != nil {
		return newSummary(), err
	}
	began := time.Now()
	for _, l := range r.lanes {
		if err := l.judgeAll(ctx, p); err != nil {
			return r.finished(began), l.named(err)
		}
	}
	s := r.finished(began)
	// Nothing is committed and nothing is to be said of it.
	s.Abandoned = 0
	for i := range s.Queues {
		s.Queues[i].Abandoned = 0
	}
	return s, nil
}

// judgeAll judges the events of one input.
func (l *lane) judgeAll(ctx context.Context, p *Protector) error {
	for {
		messages, err := l.Source.Receive(ctx)
		l.count(func(s *Summary) { s.Received += int64(len(messages)) })
		p.assign(&l.Input, messages)
		for _, m := range messages {
			j, err := p.judge(&l.Input, m)
			if err != nil {
				return err
			}
			c := j.counts()
			l.count(func(s *Summary) { s.add(&c) })
		}
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
}

// counts is what would become of the event.
func (j *judgement) counts() Counts {
	switch {
	case j.ignored:
		return Counts{Ignored: 1}
	case j.Reason != "":
		return Counts{Rejections: map[Reason]int64{j.Reason: 1}}
	}
	dropped := map[Dropped]int64{}
	for _, d := range j.event.Dropped {
		dropped[Dropped{Member: j.definition.Members[d.Member].Name, Reason: d.Reason}]++
	}
	return Counts{Stored: 1, Dropped: dropped}
}
