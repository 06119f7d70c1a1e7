package etl

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"cloakroom/dataset"
)

// Detail counts the events of one dataset that have one reason at one member.
type Detail struct {
	Dataset string `json:"dataset"`
	Outcome string `json:"outcome"` // rejected; or dropped, of an optional member that is NULL in a stored row
	Reason  Reason `json:"reason"`
	Member  string `json:"member,omitempty"` // empty: the event as a whole
	Events  int64  `json:"events"`
}

// details counts by all of a Detail but its count.
type details map[Detail]int64

func (d details) add(j *judgement) {
	if j.ignored {
		return
	}
	of := Detail{Dataset: j.definition.Name, Outcome: "rejected", Reason: j.Reason, Member: j.Member}
	if j.Reason != "" {
		d[of]++
		return
	}
	for _, drop := range j.event.Dropped {
		of.Outcome, of.Reason, of.Member = "dropped", drop.Reason, j.definition.Members[drop.Member].Name
		d[of]++
	}
}

// list gives the details, rejections first and the most frequent of them before the others.
func (d details) list() []Detail {
	var out []Detail
	for of, n := range d {
		of.Events = n
		out = append(out, of)
	}
	slices.SortFunc(out, func(a, b Detail) int {
		return cmp.Or(cmp.Compare(b.Outcome, a.Outcome), cmp.Compare(b.Events, a.Events), cmp.Compare(a.Dataset, b.Dataset),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Member, b.Member))
	})
	return out
}

// Judged is what a dry run says of one event. It is valid until the call returns.
type Judged struct {
	Queue             string // the input's name
	Message           *Message
	Dataset           *dataset.Dataset
	Event             []byte // out of its envelopes
	Ignored           bool   // it is no event
	dataset.Rejection        // zero: it would be stored
}

// DryRun decodes events, makes their tokens and counts what would become of them, until each input
// ends. It seals, writes and deletes nothing. Duplicates count as stored: only the database could
// tell.
//
// It reads one input after the other: nothing waits for what it does. see, if it is not nil, is told of each event; its
// error ends the run.
func DryRun(ctx context.Context, w *Writer, inputs []Input, see func(Judged) error) (Summary, error) {
	r, err := newRun(w, inputs, Options{})
	if err != nil {
		return newSummary(), err
	}
	p := NewProtector(w)
	if err := p.use(w.current()); err != nil {
		return newSummary(), err
	}
	began, found := time.Now(), details{}
	for _, l := range r.lanes {
		if err := l.judgeAll(ctx, p, found, see); err != nil {
			return r.finished(began), l.named(err)
		}
	}
	s := r.finished(began)
	// Nothing is committed and nothing is to be said of it.
	s.Abandoned, s.Details = 0, found.list()
	for i := range s.Queues {
		s.Queues[i].Abandoned = 0
	}
	return s, nil
}

// judgeAll judges the events of one input.
func (l *lane) judgeAll(ctx context.Context, p *Protector, found details, see func(Judged) error) error {
	for {
		messages, err := l.Source.Receive(ctx)
		l.count(func(s *Summary) { s.Received += int64(len(messages)) })
		if l.Unwrap != nil {
			if err := l.unpackNow(ctx, messages); err != nil {
				return err
			}
		}
		p.assign(&l.Input, messages)
		for _, m := range messages {
			j, err := p.judge(&l.Input, m)
			if err != nil {
				return err
			}
			found.add(j)
			c := j.counts()
			l.count(func(s *Summary) { s.add(&c) })
			if see == nil {
				continue
			}
			err = see(Judged{
				Queue: l.Name, Message: m, Dataset: j.definition, Event: m.text(), Ignored: j.ignored, Rejection: j.Rejection,
			})
			if err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
}

// unpackNow opens envelopes one after the other, and waits for no outage.
func (l *lane) unpackNow(ctx context.Context, messages []*Message) error {
	u := l.newUnpacker()
	state := l.writer.current()
	for _, m := range messages {
		o := u.opener.Open(m.Body, state.guard(&l.Input, m))
		if _, err := u.resume(ctx, state, m, o); err != nil {
			return err
		}
	}
	return nil
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
