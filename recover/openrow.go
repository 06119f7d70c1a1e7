package recover

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// ErrIntegrity reports a row that is not as it was stored. The text beside it says what is wrong,
// never a value.
var ErrIntegrity = errors.New("the row is not as it was stored")

// asIntegrityError adds ErrIntegrity to an error that says a sealed value was altered.
func asIntegrityError(err error) error {
	if envelope.IntegrityError(err) != nil {
		return fmt.Errorf("%w: %w", ErrIntegrity, err)
	}
	return err
}

// rowOpener opens rows and compares their tokens. It reuses its buffers, so each goroutine has its
// own.
type rowOpener struct {
	*openJob
	members []*dataset.Member      // the protected fields, in the order of the request
	nClear  int                    // clear fields of the request: they come first in a row
	hashers [][]*blindindex.Hasher // by version, then by member
	layout  []columnSource
	scratch envelope.Scratch
	row     handedRow
	day     dayText
	texts   [][]byte // opened values, by member
	token   []byte
	id      []byte
	date    []byte
	record  Record
}

// columnSource says where a column's value comes from.
type columnSource struct {
	from  origin
	index int // among the row's clear values, or the opener's texts
}

type origin int

const (
	fromNothing origin = iota
	fromKind
	fromID
	fromDate
	fromSubject
	fromClear
	fromSealed
	fromReason
	fromBody
)

// ownColumns are the columns that every dataset has.
var ownColumns = map[string]origin{
	columnKind: fromKind, columnID: fromID, columnDate: fromDate, columnReason: fromReason, dataset.BodyField: fromBody,
}

// newRowOpener makes an opener with hashers of its own, because a hasher is for one goroutine.
func newRowOpener(job *openJob) *rowOpener {
	o := &rowOpener{openJob: job, id: make([]byte, 36)}
	var places []int
	o.members, places = protectedOf(job.client.Dataset, job.fields)
	for _, v := range job.handed.versions {
		k, _ := job.indexKey(v)
		var hashers []*blindindex.Hasher
		for _, place := range places {
			hashers = append(hashers, k.Subkeys[place].NewHasher())
		}
		o.hashers = append(o.hashers, hashers)
	}
	o.texts = make([][]byte, len(o.members))
	o.layout, o.nClear = job.layout()
	return o
}

// layout finds each column's value in what hand_out gives: clear and sealed fields, each in the
// order of the request.
func (job *openJob) layout() (layout []columnSource, nClear int) {
	clearAt, sealedAt := map[string]int{}, map[string]int{}
	for _, f := range job.fields {
		switch kind, _ := kindOf(job.client.Dataset, f); kind {
		case protectedField:
			sealedAt[f] = len(sealedAt)
		case clearField:
			clearAt[f] = len(clearAt)
		}
	}
	for _, c := range job.columns {
		s := columnSource{from: ownColumns[c.Name]}
		if i, ok := sealedAt[c.Name]; ok {
			s = columnSource{from: fromSealed, index: i}
		} else if c.Name == job.client.Dataset.Subject {
			s = columnSource{from: fromSubject}
		} else if i, ok := clearAt[c.Name]; ok {
			s = columnSource{from: fromClear, index: i}
		}
		layout = append(layout, s)
	}
	return layout, len(clearAt)
}

// openBlock opens every row of a block, or fails as a whole. On its way out it zeroes the opened
// values in its buffers; those in b.opened belong to the spool.
func (o *rowOpener) openBlock(ctx context.Context, b *block) error {
	defer func() {
		for i := range o.texts {
			clear(o.texts[i][:cap(o.texts[i])])
		}
	}()
	b.opened = make([]byte, 0, len(b.sent))
	begin := 0
	for _, end := range b.ends {
		sent := b.sent[begin:end]
		begin = end
		var err error
		switch {
		case o.row.parse(sent, o.nClear+len(o.members)*(1+len(o.handed.versions))) && o.row.kind == kindRow:
			err = o.openRow(ctx)
		case o.row.parse(sent, 2) && o.row.kind == kindRejection:
			err = o.openRejection(ctx)
		default:
			return fmt.Errorf("opening a row: %w: it does not have the fields of the request", ErrIntegrity)
		}
		if err != nil {
			return fmt.Errorf("opening %s %s: %w", o.row.name(), o.row.id, err)
		}
		b.opened = appendRecord(b.opened, o.record)
	}
	return nil
}

// openRow opens a stored row. The associated data holds dataset, field, row id, date and subject,
// so a value that was moved from another row, column, day or person does not open. A row without a
// data key was erased: its protected fields are nil.
func (o *rowOpener) openRow(ctx context.Context) error {
	if o.row.keyID != 0 {
		key, err := o.ring.Key(ctx, o.row.keyID)
		if err != nil {
			return err
		}
		o.day.of(o.row.date)
		row := keys.Row{ID: o.row.id, Date: o.day.date, Subject: string(o.row.subject)}
		place := row.Place(o.settings.ID, o.client.Dataset, "")
		for i, m := range o.members {
			place.Field = m.Name
			if err := o.openField(key, &place, i); err != nil {
				return fmt.Errorf("field %s: %w", m.Name, err)
			}
		}
	}
	o.record = o.record[:0]
	for _, s := range o.layout {
		o.record = append(o.record, o.value(s))
	}
	return nil
}

// openField opens one sealed value into texts and compares its tokens: a token that somebody
// changed would make a request for one value open another's rows. A token that one version lacks
// means a reindex is under way. A token that all versions lack was taken away.
func (o *rowOpener) openField(key *envelope.Key, place *envelope.Place, i int) error {
	sealed := o.row.value(o.nClear + i)
	var err error
	if o.texts[i], err = key.Open(o.texts[i][:0], &o.scratch, place, o.members[i].Protect.Pad, sealed); err != nil {
		return asIntegrityError(err)
	}
	matched := 0
	for v := range o.handed.versions {
		stored := o.row.value(o.nClear + (1+v)*len(o.members) + i)
		if stored == nil {
			continue
		}
		if o.token, err = o.hashers[v][i].AppendToken(o.token[:0], string(o.texts[i])); err != nil {
			return fmt.Errorf("%w: the value cannot be normalised", ErrIntegrity)
		}
		if !blindindex.EqualToken(string(stored), string(o.token)) {
			return fmt.Errorf("%w: its token belongs to another value", ErrIntegrity)
		}
		matched++
	}
	if matched == 0 {
		return fmt.Errorf("%w: its token is missing", ErrIntegrity)
	}
	return nil
}

// openRejection opens a rejected event: its values are the reason code and the sealed body. A body
// is sealed for its message id alone, and has no tokens.
func (o *rowOpener) openRejection(ctx context.Context) error {
	var body []byte
	if o.row.keyID != 0 {
		key, err := o.ring.Key(ctx, o.row.keyID)
		if err != nil {
			return err
		}
		place := keys.RejectionPlace(o.settings.ID, o.client.Dataset, o.row.id)
		if body, err = key.Open(nil, nil, &place, dataset.BodyPad, o.row.value(1)); err != nil {
			return asIntegrityError(err)
		}
	}
	o.record = o.record[:0]
	for _, s := range o.layout {
		switch s.from {
		case fromBody:
			o.record = append(o.record, body)
		case fromReason:
			o.record = append(o.record, o.row.value(0))
		case fromClear, fromSealed:
			o.record = append(o.record, nil)
		default:
			o.record = append(o.record, o.value(s))
		}
	}
	return nil
}

// value gives the current row's value of a column. For a rejection, it is called only for the
// columns that any row has.
func (o *rowOpener) value(s columnSource) []byte {
	switch s.from {
	case fromKind:
		return []byte(o.row.name())
	case fromID:
		hexID(o.id, o.row.id)
		return o.id
	case fromDate:
		o.date = append(o.date[:0], o.day.of(o.row.date)...)
		return o.date
	case fromSubject:
		return o.row.subject
	case fromClear:
		return o.row.value(s.index)
	case fromSealed:
		if o.row.keyID != 0 {
			return o.texts[s.index]
		}
	}
	return nil
}

// hexID writes a UUID's text, 36 bytes, without an allocation.
func hexID(dst []byte, id uuid.UUID) {
	hex.Encode(dst, id[:4])
	hex.Encode(dst[9:], id[4:6])
	hex.Encode(dst[14:], id[6:8])
	hex.Encode(dst[19:], id[8:10])
	hex.Encode(dst[24:], id[10:])
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}

// postgresEpoch is Postgres's day 0.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// dayText is a date and its text. It is kept because most rows of a block share it.
type dayText struct {
	sent [4]byte
	date time.Time
	text string
}

func (d *dayText) of(sent []byte) string {
	if at := [4]byte(sent); d.text == "" || d.sent != at {
		days := int32(binary.BigEndian.Uint32(sent))
		d.sent, d.date = at, postgresEpoch.AddDate(0, 0, int(days))
		d.text = d.date.Format(time.DateOnly)
	}
	return d.text
}
