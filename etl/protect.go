package etl

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// Protector decodes events, makes their tokens, seals them and writes their rows for COPY. It
// reuses its buffers and is not for concurrent use; each goroutine has its own, over one Writer.
type Protector struct {
	writer    *Writer
	decoder   *decoder
	protected []int // positions of the protected members among the dataset's
	state     *writerState
	hashers   [][]*blindindex.Hasher // by version, then by protected member
	scratch   envelope.Scratch
	sealed    []byte
	tokens    []byte
	row       []byte
	day       day
}

// day is a date and its text, kept because most events of a batch share it, and judged again for
// each batch.
type day struct {
	date    time.Time
	text    string
	outside bool // of the policy's window
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
	p := &Protector{writer: w, decoder: newDecoder(w.dataset)}
	for i := range w.dataset.Members {
		if w.dataset.Members[i].Protect != nil {
			p.protected = append(p.protected, i)
		}
	}
	return p
}

// Protect turns messages into a batch; what cannot be stored is in it as a rejection. It fails only
// if it gets no data key.
func (p *Protector) Protect(ctx context.Context, messages []*Message) (*Batch, error) {
	return p.protect(ctx, messages, nothingRefused)
}

// protect is Protect for events of which the database has refused something.
func (p *Protector) protect(ctx context.Context, messages []*Message, refused refusal) (*Batch, error) {
	p.use(p.writer.current())
	p.day = day{}
	b := newBatch(p.state, messages)
	for i, m := range messages {
		if err := p.add(ctx, b, m, messages[i:], refused); err != nil {
			b.Release()
			return nil, err
		}
	}
	return b, nil
}

// use takes over the vault's state: after a reindex began or ended, other subkeys.
func (p *Protector) use(state *writerState) {
	if p.state == state {
		return
	}
	p.state, p.hashers, p.day = state, nil, day{}
	for _, k := range state.index {
		hashers := make([]*blindindex.Hasher, len(k.Subkeys))
		for i, s := range k.Subkeys {
			hashers[i] = s.NewHasher()
		}
		p.hashers = append(p.hashers, hashers)
	}
}

// add writes one event to a batch. rest are the messages from it on, which may need a data key, too.
func (p *Protector) add(ctx context.Context, b *Batch, m *Message, rest []*Message, refused refusal) error {
	e, reason := p.judge(m)
	if reason == "" && refused == rowRefused || refused == rejectionRefused {
		reason = DBData
	}
	if reason != "" {
		return p.reject(ctx, b, m, rest, e, reason, refused)
	}
	key, err := b.key(ctx, p.writer.issuer, m.Date, rest, len(p.protected))
	if err != nil {
		return err
	}
	if err := p.writeRow(key, m, e); err != nil {
		return err
	}
	b.addRow(p.row)
	return nil
}

// judge decodes an event, makes its tokens, and says why it is to be rejected, or nothing.
func (p *Protector) judge(m *Message) (*event, Reason) {
	if !p.day.date.Equal(m.Date) || p.day.text == "" {
		p.day = day{date: m.Date, text: m.Date.Format(time.DateOnly), outside: p.state.outside(m.Date)}
	}
	e, reason := p.decoder.decode(m.Body)
	switch {
	case reason != "":
		return e, reason
	case p.day.outside:
		return e, BadDate
	}
	return e, p.tokenise(e)
}

// string is the value as a string without a copy: it lives no longer than the event.
func (v *value) string() string { return unsafe.String(unsafe.SliceData(v.text), len(v.text)) }

// tokenise makes the tokens of all protected members under all live versions, one after another in
// p.tokens.
func (p *Protector) tokenise(e *event) Reason {
	p.tokens = p.tokens[:0]
	for v := range p.hashers {
		for i, at := range p.protected {
			if e.values[at].isNull() {
				p.tokens = append(p.tokens, noToken...)
				continue
			}
			var err error
			p.tokens, err = p.hashers[v][i].AppendToken(p.tokens, e.values[at].string())
			switch {
			case err == nil:
			case errors.Is(err, blindindex.ErrAddress):
				return BadIP
			case errors.Is(err, blindindex.ErrEmpty):
				return MissingField
			default:
				return InvalidUTF8
			}
		}
	}
	return ""
}

// noToken stands in p.tokens where a protected member is null. It is as long as a token, and no
// token begins with NUL.
var noToken = make([]byte, blindindex.TokenLength)

// writeRow writes one row, in the order of dataset.Columns.
func (p *Protector) writeRow(key *keys.SealingKey, m *Message, e *event) error {
	d := p.writer.dataset
	row := appendCopyUUID(p.row[:0], m.ID)
	row = append(row, '\t')
	row = append(row, p.day.text...)
	for i := range d.Members {
		if d.Members[i].Protect == nil {
			row = appendClear(row, &d.Members[i], &e.values[i])
		}
	}
	place := envelope.Place{
		Vault: p.state.settings.ID, Dataset: d.Name, Row: m.ID,
		Date: p.day.text, Subject: e.values[p.decoder.subject].string(),
	}
	for _, at := range p.protected {
		row = append(row, '\t')
		if e.values[at].isNull() {
			row = appendCopyNull(row)
			continue
		}
		member := &d.Members[at]
		place.Field = member.Name
		var err error
		p.sealed, err = key.Seal(p.sealed[:0], &p.scratch, &place, member.Protect.Pad, e.values[at].text)
		if err != nil {
			return fmt.Errorf("sealing %s: %w", member.Name, err)
		}
		row = appendCopyBytes(row, p.sealed)
	}
	for at := 0; at < len(p.tokens); at += blindindex.TokenLength {
		row = append(row, '\t')
		if token := p.tokens[at : at+blindindex.TokenLength]; token[0] == 0 {
			row = appendCopyNull(row)
		} else {
			row = append(row, token...)
		}
	}
	row = append(row, '\t')
	row = appendCopyInt(row, int64(key.ID()))
	p.row = append(row, '\n')
	return nil
}

func appendClear(row []byte, m *dataset.Member, v *value) []byte {
	row = append(row, '\t')
	if v.isNull() {
		row = appendCopyNull(row)
		if m.Type == dataset.Version {
			row = appendCopyNull(append(row, '\t'))
		}
		return row
	}
	if m.Type == dataset.Version {
		row = append(appendCopyInt(row, int64(v.version)), '\t')
	}
	return appendCopyText(row, v.text)
}

// reject seals the whole event and writes it to the batch's rejections, in the order of
// rejectionColumns.
//
// Nothing that an event or its server says may make this impossible. Days and counts beyond the
// column's range are left out or cut; where the database refuses the rejection all the same, it is
// written once more without subject, date and count.
func (p *Protector) reject(
	ctx context.Context, b *Batch, m *Message, rest []*Message, e *event, reason Reason, refused refusal,
) error {
	date := m.Date
	if p.day.outside {
		// Its own month may be centuries away. A key of this month seals it.
		date = p.state.now()
	}
	key, err := b.key(ctx, p.writer.issuer, date, rest, 1)
	if err != nil {
		return err
	}
	place := keys.RejectionPlace(p.state.settings.ID, p.writer.dataset, m.ID)
	p.sealed, err = key.Seal(p.sealed[:0], &p.scratch, &place, dataset.BodyPad, m.Body)
	if err != nil {
		return fmt.Errorf("sealing a rejection: %w", err)
	}
	row := appendCopyUUID(p.row[:0], m.ID)
	row = append(append(row, '\t'), reason...)
	row = append(row, '\t')
	bare := refused == rejectionRefused
	if subject := p.decoder.subjectOf(e); subject != nil && !bare {
		row = appendCopyText(row, subject)
	} else {
		row = appendCopyNull(row)
	}
	row = append(row, '\t')
	if year := m.Date.Year(); year >= 1 && year <= 9999 && !bare {
		row = append(row, p.day.text...)
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
	b.addRejection(p.row)
	return nil
}

// rejectionColumns are the columns that reject writes.
func rejectionColumns(d *dataset.Dataset) []string {
	return []string{"message_id", "reason", d.Subject, "create_date", "receive_count", "sealed_body", "data_key"}
}
