package etl

import (
	"context"
	"fmt"
	"math"
	"time"
	"unsafe"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// Protector decodes events, makes their tokens, seals them and writes their rows for COPY. It
// reuses its buffers and is not for concurrent use; each goroutine has its own, over one Writer.
type Protector struct {
	writer  *Writer
	state   *writerState
	router  *router // of the last input with a route by member
	plans   []*plan // by the dataset's place in the state
	scratch envelope.Scratch
	sealed  []byte
	tokens  []byte // of the event in hand, as they stand in its row: each behind a tab
	shown   []byte
	row     []byte
	sent    day // of deliveries
	judged  judgement
}

// refusal is how much of an event the database has refused so far.
type refusal int

const (
	nothingRefused   refusal = iota
	rowRefused               // the row: the event becomes a rejection, db_data unless it has a reason of its own
	rejectionRefused         // its rejection, too: that keeps only the id, db_data and the sealed body
)

// NewProtector makes a protector over a writer, which others may share.
func NewProtector(w *Writer) *Protector {
	return &Protector{writer: w}
}

// Protect turns messages into a batch; what cannot be stored is in it as a rejection. It fails only
// if it gets no data key.
func (p *Protector) Protect(ctx context.Context, messages []*Message) (*Batch, error) {
	in := p.writer.Input(nil)
	return p.protect(ctx, &in, messages, nothingRefused)
}

// protect is Protect for the messages of an input, of which the database has refused something.
func (p *Protector) protect(ctx context.Context, in *Input, messages []*Message, refused refusal) (*Batch, error) {
	if err := p.use(p.writer.current()); err != nil {
		return nil, err
	}
	p.sent.known = false
	for _, pl := range p.plans {
		pl.day.known = false
	}
	p.assign(in, messages)
	b := newBatch(p.state, messages)
	for i, m := range messages {
		if err := p.add(ctx, in, b, m, messages[i:], refused); err != nil {
			b.Release()
			return nil, err
		}
	}
	return b, nil
}

// use takes over the vault's state: other definitions, and after a reindex began or ended, other subkeys.
func (p *Protector) use(state *writerState) error {
	if p.state == state {
		return nil
	}
	var plans []*plan
	for _, d := range state.datasets {
		pl, err := newPlan(d)
		if err != nil {
			return err
		}
		plans = append(plans, pl)
	}
	p.state, p.plans = state, plans
	return nil
}

// assign finds whose events the messages are, before a data key is asked for: its share is for all of a dataset.
func (p *Protector) assign(in *Input, messages []*Message) {
	if in.Route == (Route{}) && in.Dataset == "" {
		return
	}
	if p.router == nil || p.router.Route != in.Route {
		p.router = newRouter(in.Route)
	}
	for _, m := range messages {
		switch {
		case m.Dataset != "", m.fault.Reason != "":
		case in.Route == (Route{}):
			m.Dataset = in.Dataset
		default:
			if d := p.router.dataset(p.state, p.standard(in), m); d != nil {
				m.Dataset = d.definition.Name
			}
		}
	}
}

// standard is the dataset of an input's messages that name none.
func (p *Protector) standard(in *Input) *datasetState {
	if in.Dataset != "" {
		if d := p.state.find(in.Dataset); d != nil {
			return d
		}
	}
	return p.state.standard
}

// judgement is an event that was read, and why it is to be rejected, or nothing.
type judgement struct {
	*plan
	event *dataset.Event
	dataset.Rejection
	ignored bool // it is no event
	sent    *day // of the row
	at      time.Time
}

// add writes one event to a batch. rest are the messages from it on, which may need a data key, too.
func (p *Protector) add(
	ctx context.Context, in *Input, b *Batch, m *Message, rest []*Message, refused refusal,
) error {
	j, err := p.judge(in, m)
	if err != nil {
		return err
	}
	if j.ignored {
		b.ignored++
		return nil
	}
	if j.Reason == "" && refused == rowRefused || refused == rejectionRefused {
		j.Rejection = dataset.Rejection{Reason: DBData}
	}
	m.rejected = j.Reason != ""
	into := b.part(j.datasetState)
	if j.Reason != "" {
		return p.reject(ctx, into, m, rest, j, refused)
	}
	key, err := into.key(ctx, j.sent.date, rest, len(j.sealed))
	if err != nil {
		return err
	}
	if err := p.writeRow(key, m, j); err != nil {
		return err
	}
	into.addRow(p.row, j.event)
	return nil
}

// judge decodes an event, makes its tokens, and says why it is to be rejected, or nothing. What it returns is valid until
// the next call.
func (p *Protector) judge(in *Input, m *Message) (*judgement, error) {
	p.sent.set(m.Sent, p.state)
	j := &p.judged
	*j = judgement{sent: &p.sent, at: m.Sent}
	d := p.state.standard
	switch {
	case m.fault.Reason != "":
		d = p.standard(in)
	case m.Dataset != "" || in.Route != (Route{}):
		if d = p.state.find(m.Dataset); d == nil {
			j.plan = p.plans[p.standard(in).place]
			j.Rejection = dataset.Rejection{Reason: UnknownDataset, Member: in.Route.Member}
			p.lookAgain(in, m, j)
			return j, nil
		}
	}
	j.plan = p.plans[d.place]
	if j.Rejection = m.fault; j.Reason == "" {
		j.event, j.Rejection = j.decoder.Decode(m.text())
	}
	if j.Reason != "" {
		p.lookAgain(in, m, j)
		return j, nil
	}
	if j.ownTime {
		j.day.set(j.event.Time, p.state)
		j.sent, j.at = &j.day, j.event.Time
	}
	if j.sent.outside {
		j.Rejection = dataset.Rejection{Reason: BadDate, Member: j.definition.Time}
		return j, nil
	}
	var err error
	p.tokens, j.Rejection, err = j.appendTokens(p.tokens[:0], j.event)
	return j, err
}

// stringOf is a text as a string without a copy: it lives no longer than the event.
func stringOf(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

// writeRow writes one row, in the order of Dataset.TableColumns.
func (p *Protector) writeRow(key *keys.SealingKey, m *Message, j *judgement) error {
	e := j.event
	row := j.sent.appendTime(p.row[:0], j.at)
	row = append(row, '\t')
	id := m.ID
	if j.ownID {
		id = e.Row
	}
	row = append(appendCopyUUID(row, id), '\t')
	row = append(row, j.sent.text...)
	if j.ownID {
		row = appendCopyUUID(append(row, '\t'), m.ID)
	}
	if j.ownTime {
		row = p.appendSent(append(row, '\t'), m)
	}
	for _, c := range j.clear {
		row = c.append(append(row, '\t'), &e.Values[c.member])
	}
	place := envelope.Place{
		Vault: p.state.settings.ID, Dataset: j.definition.Name, Row: id, Date: j.sent.text, Subject: stringOf(e.Subject),
	}
	for _, at := range j.sealed {
		row = append(row, '\t')
		v := &e.Values[at]
		if v.Null {
			row = appendCopyNull(row)
			continue
		}
		member := &j.definition.Members[at]
		place.Field = member.Name
		var err error
		p.sealed, err = key.Seal(p.sealed[:0], &p.scratch, &place, member.Protect.Pad, v.Text)
		if err != nil {
			return fmt.Errorf("sealing %s: %w", member.Name, err)
		}
		row = appendCopyBytes(row, p.sealed)
	}
	for _, at := range j.revealed {
		row = append(row, '\t')
		shown, ok := p.shown[:0], false
		if v := &e.Values[at]; !v.Null {
			shown, ok = j.reveals.AppendReveal(shown, at, v.Text)
		}
		if p.shown = shown; ok {
			row = appendCopyText(row, shown)
		} else {
			row = appendCopyNull(row)
		}
	}
	row = append(row, p.tokens...)
	row = append(row, '\t')
	row = appendCopyInt(row, int64(key.ID()))
	p.row = append(row, '\n')
	return nil
}

// appendSent appends when a message was sent. A time that Postgres does not take becomes one that it does.
func (p *Protector) appendSent(dst []byte, m *Message) []byte {
	if p.sent.storable() {
		return p.sent.appendTime(dst, m.Sent)
	}
	return append(dst, "infinity"...)
}

// reject seals the whole event and writes it to the batch's rejections, in the order of
// rejectionColumns.
//
// Nothing that an event or its server says may make this impossible. Times and counts beyond the
// column's range are left out or cut; where the database refuses the rejection anyway, it is
// written once more without member, subject, date and count.
func (p *Protector) reject(
	ctx context.Context, into *part, m *Message, rest []*Message, j *judgement, refused refusal,
) error {
	date := p.sent.date
	if p.sent.outside {
		// Its own month may be centuries away. A key of this month seals it.
		date = p.state.now()
	}
	key, err := into.key(ctx, date, rest, 1)
	if err != nil {
		return err
	}
	place := keys.RejectionPlace(p.state.settings.ID, j.definition.Name, m.ID)
	p.sealed, err = key.Seal(p.sealed[:0], &p.scratch, &place, dataset.BodyPad, m.Body)
	if err != nil {
		return fmt.Errorf("sealing a rejection: %w", err)
	}
	row := append(appendCopyUUID(p.row[:0], m.ID), '\t')
	row = p.appendSent(row, m)
	row = append(append(row, '\t'), j.Reason...)
	bare := refused == rejectionRefused
	row = append(row, '\t')
	if j.Member != "" && !bare {
		row = appendCopyText(row, []byte(j.Member))
	} else {
		row = appendCopyNull(row)
	}
	row = append(row, '\t')
	if j.event != nil && len(j.event.Subject) > 0 && !bare {
		row = appendCopyText(row, j.event.Subject)
	} else {
		row = appendCopyNull(row)
	}
	row = append(row, '\t')
	if p.sent.storable() && !bare {
		row = append(row, p.sent.text...)
	} else {
		row = appendCopyNull(row)
	}
	row = append(row, '\t')
	if bare {
		row = appendCopyNull(row)
	} else {
		row = appendCopyInt(row, int64(min(max(m.Receives, 0), math.MaxInt32)))
	}
	row = appendCopyBytes(append(row, '\t'), p.sealed)
	row = appendCopyInt(append(row, '\t'), int64(key.ID()))
	p.row = append(row, '\n')
	into.addRejection(p.row)
	return nil
}

// rejectionColumns are the columns that reject writes.
var rejectionColumns = []string{
	"message_id", "sent", "reason", "member", "subject", "create_date", "receive_count", "sealed_body", "data_key",
}
