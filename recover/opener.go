package recover

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// opener opens rows and compares their tokens, reusing its buffers; one a goroutine.
type opener struct {
	*opening
	members []*dataset.Member      // the protected fields asked for, as they were asked for
	nClear  int                    // clear fields asked for: they come first in a payload
	hashers [][]*blindindex.Hasher // by version, then by member
	layout  []source
	scratch envelope.Scratch
	row     handedRow
	day     day
	texts   [][]byte
	token   []byte
	id      []byte
	date    []byte
	record  Record
}

// source says where a column's value comes from.
type source struct {
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

// fixed are the columns that are no field of the dataset.
var fixed = map[string]origin{
	columnKind: fromKind, columnID: fromID, columnDate: fromDate, columnReason: fromReason, dataset.BodyField: fromBody,
}

func newOpener(op *opening) *opener {
	o := &opener{opening: op, id: make([]byte, 36)}
	var places []int
	o.members, places = protectedOf(op.client.Dataset, op.fields)
	for _, v := range op.handed.versions {
		k, _ := op.indexKey(v)
		var hashers []*blindindex.Hasher
		for _, place := range places {
			hashers = append(hashers, k.Subkeys[place].NewHasher())
		}
		o.hashers = append(o.hashers, hashers)
	}
	o.texts = make([][]byte, len(o.members))
	o.layout, o.nClear = op.layoutOf()
	return o
}

// layoutOf matches the columns with what hand_out gives: clear and sealed fields, each in the order asked.
func (op *opening) layoutOf() (layout []source, nClear int) {
	clearAt, sealedAt := map[string]int{}, map[string]int{}
	for _, f := range op.fields {
		switch kind, _ := kindOf(op.client.Dataset, f); kind {
		case protectedField:
			sealedAt[f] = len(sealedAt)
		case clearField:
			clearAt[f] = len(clearAt)
		}
	}
	for _, c := range op.columns {
		s := source{from: fixed[c.Name]}
		if i, ok := sealedAt[c.Name]; ok {
			s = source{from: fromSealed, index: i}
		} else if c.Name == op.client.Dataset.Subject {
			s = source{from: fromSubject}
		} else if i, ok := clearAt[c.Name]; ok {
			s = source{from: fromClear, index: i}
		}
		layout = append(layout, s)
	}
	return layout, len(clearAt)
}

func (o *opener) open(ctx context.Context, b *block) error {
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
		case o.row.parse(sent, o.nClear+len(o.members)*(1+len(o.handed.versions))) && o.row.kind == kindLogin:
			err = o.openRow(ctx)
		case o.row.parse(sent, 2) && o.row.kind == kindRejection:
			err = o.openRejection(ctx)
		default:
			return fmt.Errorf("opening a row: %w: it does not have the fields that were asked for", ErrIntegrity)
		}
		if err != nil {
			return fmt.Errorf("opening %s %s: %w", o.row.name(), o.row.id, err)
		}
		b.opened = appendRecord(b.opened, o.record)
	}
	return nil
}

// broken marks an error that says a row is not as it was stored.
func broken(err error) error {
	if envelope.Damage(err) != nil {
		return fmt.Errorf("%w: %w", ErrIntegrity, err)
	}
	return err
}

func (o *opener) openRow(ctx context.Context) error {
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

// openField opens one sealed value into texts and compares its tokens. A token that is missing under one version is a
// reindex at work; missing under all it is a token taken away.
func (o *opener) openField(key *envelope.Key, place *envelope.Place, i int) error {
	m := o.members[i]
	var err error
	if o.texts[i], err = key.Open(o.texts[i][:0], &o.scratch, place, m.Protect.Pad, o.row.value(o.nClear+i)); err != nil {
		return broken(err)
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
			return fmt.Errorf("%w: its token is another value's", ErrIntegrity)
		}
		matched++
	}
	if matched == 0 {
		return fmt.Errorf("%w: its token is missing", ErrIntegrity)
	}
	return nil
}

// openRejection opens a rejected event: its values are the reason code and the sealed body.
func (o *opener) openRejection(ctx context.Context) error {
	var body []byte
	if o.row.keyID != 0 {
		key, err := o.ring.Key(ctx, o.row.keyID)
		if err != nil {
			return err
		}
		place := keys.RejectionPlace(o.settings.ID, o.client.Dataset, o.row.id)
		if body, err = key.Open(nil, nil, &place, dataset.BodyPad, o.row.value(1)); err != nil {
			return broken(err)
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

// value gives a column's value of the row in hand; of a login, unless the column is of every kind.
func (o *opener) value(s source) []byte {
	switch s.from {
	case fromKind:
		return []byte(o.row.name())
	case fromID:
		o.id = o.id[:36]
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

// hexID writes a UUID's text.
func hexID(dst []byte, id uuid.UUID) {
	hex.Encode(dst, id[:4])
	hex.Encode(dst[9:], id[4:6])
	hex.Encode(dst[14:], id[6:8])
	hex.Encode(dst[19:], id[8:10])
	hex.Encode(dst[24:], id[10:])
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}
