package recover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/internal/dataset"
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
	texts   [][]byte
	token   []byte
	values  [][]byte
	record  Record
}

// source says where a column's value comes from.
type source struct {
	from  string // kind, id, date, subject, clear, sealed, reason, body
	index int    // among the row's clear values, or the opener's texts
}

func newOpener(op *opening) *opener {
	o := &opener{opening: op}
	var places []int
	o.members, places = protectedOf(op.client.Dataset, op.fields)
	for _, v := range op.versions {
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
		s := source{from: c.Name}
		switch i, sealed := sealedAt[c.Name]; {
		case sealed:
			s = source{from: "sealed", index: i}
		case c.Name == op.client.Dataset.Subject:
			s = source{from: "subject"}
		default:
			if i, clear := clearAt[c.Name]; clear {
				s = source{from: "clear", index: i}
			}
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
	for i := range b.rows {
		r := &b.rows[i]
		var err error
		if r.kind == "rejection" {
			err = o.openRejection(ctx, r)
		} else {
			err = o.openRow(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("opening %s %s: %w", r.kind, r.id, err)
		}
		b.opened = appendRecord(b.opened, o.record)
	}
	return nil
}

// broken marks an error that says a row is not as it was stored.
func broken(err error) error {
	for _, e := range []error{
		envelope.ErrAuthentication, envelope.ErrVersion, envelope.ErrShort, envelope.ErrTrailing, envelope.ErrKeyID, envelope.ErrPadding,
	} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrIntegrity, err)
		}
	}
	return err
}

func (o *opener) openRow(ctx context.Context, r *handedRow) error {
	o.values = split(r.payload, o.nClear+len(o.members)*(1+len(o.versions)), o.values)
	if o.values == nil {
		return fmt.Errorf("%w: it does not have the fields that were asked for", ErrIntegrity)
	}
	if r.dataKey.Valid {
		key, err := o.ring.Key(ctx, uint32(r.dataKey.Int32))
		if err != nil {
			return err
		}
		for i, m := range o.members {
			if err := o.openField(key, r, i); err != nil {
				return fmt.Errorf("field %s: %w", m.Name, err)
			}
		}
	}
	o.record = o.record[:0]
	for _, s := range o.layout {
		o.record = append(o.record, o.value(r, s))
	}
	return nil
}

// openField opens one sealed value into texts and compares its tokens. A token that is missing under one version is a
// reindex at work; missing under all it is a token taken away.
func (o *opener) openField(key *envelope.Key, r *handedRow, i int) error {
	m := o.members[i]
	row := keys.Row{ID: r.id, Date: r.date, Subject: r.subject.String}
	place := row.Place(o.settings.ID, o.client.Dataset, m.Name)
	var err error
	if o.texts[i], err = key.Open(o.texts[i][:0], &o.scratch, &place, m.Protect.Pad, o.values[o.nClear+i]); err != nil {
		return broken(err)
	}
	matched := 0
	for v := range o.versions {
		stored := o.values[o.nClear+(1+v)*len(o.members)+i]
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

func (o *opener) openRejection(ctx context.Context, r *handedRow) error {
	o.values = split(r.payload, 2, o.values) // reason code, sealed body
	if o.values == nil {
		return fmt.Errorf("%w: it does not have a body", ErrIntegrity)
	}
	var body []byte
	if r.dataKey.Valid {
		key, err := o.ring.Key(ctx, uint32(r.dataKey.Int32))
		if err != nil {
			return err
		}
		place := keys.RejectionPlace(o.settings.ID, o.client.Dataset, r.id)
		if body, err = key.Open(nil, nil, &place, dataset.BodyPad, o.values[1]); err != nil {
			return broken(err)
		}
	}
	o.record = o.record[:0]
	for _, s := range o.layout {
		switch s.from {
		case dataset.BodyField:
			o.record = append(o.record, body)
		case columnReason:
			o.record = append(o.record, o.values[0])
		case "clear", "sealed":
			o.record = append(o.record, nil)
		default:
			o.record = append(o.record, o.value(r, s))
		}
	}
	return nil
}

func (o *opener) value(r *handedRow, s source) []byte {
	switch s.from {
	case columnKind:
		return []byte(r.kind)
	case columnID:
		return []byte(r.id.String())
	case columnDate:
		return []byte(r.date.Format(time.DateOnly))
	case "subject":
		if r.subject.Valid {
			return []byte(r.subject.String)
		}
	case "clear":
		return o.values[s.index]
	case "sealed":
		if r.dataKey.Valid {
			return o.texts[s.index]
		}
	}
	return nil
}
