package recover

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

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
	rowShape
	makers  []*dataset.Tokeniser // by version
	scratch envelope.Scratch
	row     handedRow
	day     dayText
	texts   [][]byte // opened values, by sealed field; nil: there is none
	rooms   [][]byte // where they lie
	token   []byte
	id      []byte
	date    []byte
	record  Record
}

// rowShape is what hand_out gives of a row behind what every row has: clear values, sealed values, and
// the tokens of the sealed ones, version by version.
type rowShape struct {
	clear   int
	sealed  []*dataset.Member // in the order of the request
	tokens  int               // of a version
	indexes [][]tokenAt       // of each sealed field
}

// tokenAt is a token of a sealed field: its position among Dataset.Indexes, and among a version's
// tokens in the row, which has those of the fields asked for.
type tokenAt struct{ index, place int }

func shapeOf(d *dataset.Dataset, fields []string) rowShape {
	var s rowShape
	stored := storedFields(d)
	asked := map[string]int{}
	for _, f := range fields {
		switch c, ok := stored[f]; {
		case !ok:
		case c.from == fromClear:
			s.clear++
		default:
			m, _ := d.Member(f)
			asked[f] = len(s.sealed)
			s.sealed = append(s.sealed, m)
		}
	}
	s.indexes = make([][]tokenAt, len(s.sealed))
	for i, ix := range d.Indexes() {
		if n, ok := asked[ix.Member.Name]; ok {
			s.indexes[n] = append(s.indexes[n], tokenAt{index: i, place: s.tokens})
			s.tokens++
		}
	}
	return s
}

// values is how many values a row has, with tokens of a given number of versions.
func (s *rowShape) values(versions int) int { return s.clear + len(s.sealed) + versions*s.tokens }

// newRowOpener makes an opener with tokenisers of its own, because one is for one goroutine.
func newRowOpener(job *openJob) (*rowOpener, error) {
	o := &rowOpener{openJob: job, rowShape: shapeOf(job.dataset, job.fields), id: make([]byte, 36)}
	for _, v := range job.handed.versions {
		k, _ := job.indexKey(v)
		maker, err := dataset.NewTokeniser(job.dataset, k.Subkeys)
		if err != nil {
			return nil, err
		}
		o.makers = append(o.makers, maker)
	}
	o.texts, o.rooms = make([][]byte, len(o.sealed)), make([][]byte, len(o.sealed))
	return o, nil
}

// openBlock opens every row of a block, or fails as a whole. On its way out it zeroes the opened
// values in its buffers; those in b.opened belong to the spool.
func (o *rowOpener) openBlock(ctx context.Context, b *block) error {
	defer func() {
		for _, room := range o.rooms {
			clear(room[:cap(room)])
		}
	}()
	b.opened = make([]byte, 0, len(b.sent))
	begin := 0
	for _, end := range b.ends {
		sent := b.sent[begin:end]
		begin = end
		var err error
		switch {
		case o.row.parse(sent, o.values(len(o.makers))) && o.row.kind == kindRow:
			err = o.openRow(ctx)
		case o.row.parse(sent, 2) && o.row.kind == kindRejection:
			err = o.openRejection(ctx)
		default:
			return fmt.Errorf("opening a row: %w: it does not have the fields of the request", ErrIntegrity)
		}
		if problem, isData := damageOf(err); isData && o.skip {
			o.leaveOut(problem)
			b.rows--
			continue
		}
		if err != nil {
			return fmt.Errorf("opening %s %s: %w", o.row.name(), o.row.id, err)
		}
		b.opened = appendRecord(b.opened, o.record)
	}
	return nil
}

// damageOf names what is wrong with a row, without any value.
func damageOf(err error) (problem string, isData bool) {
	if problem, isData = keys.DataProblem(err); isData {
		return problem, true
	}
	return ErrIntegrity.Error(), errors.Is(err, ErrIntegrity)
}

// leaveOut names the current row as one that did not open.
func (o *rowOpener) leaveOut(problem string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.damaged = append(o.damaged, DamagedRow{Kind: o.row.name(), ID: o.row.id, DataKey: o.row.keyID, Problem: problem})
}

// openRow opens a stored row. The associated data holds dataset, field, row id, date and subject,
// so a value that was moved from another row, column, day, person or dataset does not open. A row
// without a data key was erased: its protected fields are nil.
func (o *rowOpener) openRow(ctx context.Context) error {
	if o.row.keyID != 0 {
		key, err := o.ring.Key(ctx, o.row.keyID)
		if err != nil {
			return err
		}
		o.day.of(o.row.date)
		row := keys.Row{ID: o.row.id, Date: o.day.date, Subject: string(o.row.subject)}
		place := row.Place(o.settings.ID, o.dataset, "")
		for i, m := range o.sealed {
			place.Field = m.Name
			if err := o.openField(key, &place, i); err != nil {
				return fmt.Errorf("field %s: %w", m.Name, err)
			}
		}
	}
	o.record = o.record[:0]
	for _, c := range o.columns {
		o.record = append(o.record, o.value(c))
	}
	return nil
}

// openField opens one sealed value into texts and compares its tokens: a token that somebody
// changed would make a request for one value open another's rows. A token that one version lacks
// means a reindex is under way. A token that all versions lack was taken away.
func (o *rowOpener) openField(key *envelope.Key, place *envelope.Place, i int) error {
	sealed := o.row.value(o.clear + i)
	if sealed == nil {
		return o.checkAbsent(i)
	}
	m := o.sealed[i]
	var err error
	if o.rooms[i], err = key.Open(o.rooms[i][:0], &o.scratch, place, m.Protect.Pad, sealed); err != nil {
		return asIntegrityError(err)
	}
	o.texts[i] = o.rooms[i]
	for _, t := range o.indexes[i] {
		matched := 0
		for v, maker := range o.makers {
			stored := o.storedToken(v, t)
			if stored == nil {
				continue
			}
			var reason dataset.Reason
			if o.token, reason, err = maker.AppendToken(o.token[:0], t.index, o.texts[i]); err != nil || reason != "" {
				return fmt.Errorf("%w: the value cannot be normalised", ErrIntegrity)
			}
			if !dataset.SameToken(string(stored), string(o.token)) {
				return fmt.Errorf("%w: its token belongs to another value", ErrIntegrity)
			}
			matched++
		}
		if matched == 0 {
			return fmt.Errorf("%w: its token is missing", ErrIntegrity)
		}
	}
	return nil
}

// checkAbsent accepts that nothing is sealed for an optional field, and no token is there.
func (o *rowOpener) checkAbsent(i int) error {
	o.texts[i] = nil
	if o.sealed[i].Required {
		return fmt.Errorf("%w: its sealed value is missing", ErrIntegrity)
	}
	for _, t := range o.indexes[i] {
		for v := range o.makers {
			if o.storedToken(v, t) != nil {
				return fmt.Errorf("%w: there is a token and no sealed value", ErrIntegrity)
			}
		}
	}
	return nil
}

// storedToken is a token of the row under the v-th version; nil: none.
func (o *rowOpener) storedToken(v int, t tokenAt) []byte {
	return o.row.value(o.clear + len(o.sealed) + v*o.tokens + t.place)
}

// openRejection opens a rejected event: its values are the reason code and the sealed body. A body
// is sealed for its dataset and message id alone, and has no tokens.
func (o *rowOpener) openRejection(ctx context.Context) error {
	var body []byte
	if o.row.keyID != 0 {
		key, err := o.ring.Key(ctx, o.row.keyID)
		if err != nil {
			return err
		}
		place := keys.RejectionPlace(o.settings.ID, o.dataset.Name, o.row.id)
		if body, err = key.Open(nil, nil, &place, dataset.BodyPad, o.row.value(1)); err != nil {
			return asIntegrityError(err)
		}
	}
	o.record = o.record[:0]
	for _, c := range o.columns {
		switch c.from {
		case fromBody:
			o.record = append(o.record, body)
		case fromReason:
			o.record = append(o.record, o.row.value(0))
		case fromClear, fromSealed:
			o.record = append(o.record, nil)
		default:
			o.record = append(o.record, o.value(c))
		}
	}
	return nil
}

// value gives the current row's value of a column. For a rejection, it is called only for the
// columns that any row has.
func (o *rowOpener) value(c Column) []byte {
	switch c.from {
	case fromKind:
		return []byte(o.row.name())
	case fromID:
		hexID(o.id, o.row.id)
		return o.id
	case fromDate:
		if o.row.date == nil {
			return nil
		}
		o.date = append(o.date[:0], o.day.of(o.row.date)...)
		return o.date
	case fromSubject:
		return o.row.subject
	case fromClear:
		return o.row.value(c.index)
	case fromSealed:
		if o.row.keyID != 0 {
			return o.texts[c.index]
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
