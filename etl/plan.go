package etl

import (
	"time"

	"cloakroom/dataset"
)

// plan is what a protector has ready for one dataset. It is not for concurrent use.
type plan struct {
	*datasetState
	decoder    *dataset.Decoder
	tokenisers []*dataset.Tokeniser // by version of the index key
	reveals    *dataset.Tokeniser
	ownID      bool // the row's id comes out of the event
	ownTime    bool // its time, too
	clear      []clearColumn
	sealed     []int // positions of members, as of all below
	revealed   []int
	indexed    []int // of each index, its member's
	day        day   // of the events' own time
}

// newPlan reads off the dataset's columns what writeRow writes.
func newPlan(d *datasetState) (*plan, error) {
	p := &plan{
		datasetState: d, decoder: dataset.NewDecoder(d.definition), ownID: d.definition.ID != "", ownTime: d.definition.Time != "",
	}
	for _, c := range d.definition.TableColumns([]uint32{0}) {
		switch c.Role {
		case dataset.RoleClear:
			p.clear = append(p.clear, clearColumn{c.Member, d.definition.Members[c.Member].Type == dataset.Version, false})
		case dataset.RoleText:
			p.clear = append(p.clear, clearColumn{c.Member, false, true})
		case dataset.RoleSealed:
			p.sealed = append(p.sealed, c.Member)
		case dataset.RoleReveal:
			p.revealed = append(p.revealed, c.Member)
		case dataset.RoleToken:
			p.indexed = append(p.indexed, c.Member)
		}
	}
	var err error
	if p.reveals, err = dataset.NewTokeniser(d.definition, nil); err != nil {
		return nil, err
	}
	for _, k := range d.index {
		t, err := dataset.NewTokeniser(d.definition, k.Subkeys)
		if err != nil {
			return nil, err
		}
		p.tokenisers = append(p.tokenisers, t)
	}
	return p, nil
}

// appendTokens appends an event's token columns for COPY, version by version, each behind a tab. It returns a rejection
// if a value has no token.
func (p *plan) appendTokens(dst []byte, e *dataset.Event) ([]byte, dataset.Rejection, error) {
	for _, t := range p.tokenisers {
		for i, at := range p.indexed {
			dst = append(dst, '\t')
			if e.Values[at].Null {
				dst = appendCopyNull(dst)
				continue
			}
			var reason Reason
			var err error
			if dst, reason, err = t.AppendToken(dst, i, e.Values[at].Text); err != nil || reason != "" {
				return dst, dataset.Rejection{Reason: reason, Member: p.definition.Members[at].Name}, err
			}
		}
	}
	return dst, dataset.Rejection{}, nil
}

// clearColumn is a column of a member in clear.
type clearColumn struct {
	member  int
	version bool // the integer of a version
	text    bool // the text that was sent, of a version
}

func (c clearColumn) append(row []byte, v *dataset.Value) []byte {
	switch {
	case v.Null, c.version && !v.HasVersion:
		return appendCopyNull(row)
	case c.version:
		return appendCopyInt(row, int64(v.Version))
	case c.text:
		return appendCopyText(row, v.Text)
	}
	return appendCopyText(row, v.Canonical)
}

// day is a date and its text, kept because most events of a batch share it, and judged again for
// each batch.
type day struct {
	known   bool
	number  int64 // days since 1970-01-01
	date    time.Time
	text    string
	outside bool // of the policy's window
}

const secondsOfDay = 24 * 60 * 60

// set makes it the day of a time, UTC. Times may be any that a server can say.
func (d *day) set(t time.Time, s *writerState) {
	number := t.Unix() / secondsOfDay
	if t.Unix()%secondsOfDay < 0 {
		number--
	}
	if d.known && d.number == number {
		return
	}
	// Not Truncate: that is wrong for years before 1.
	t = t.UTC()
	date := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	*d = day{known: true, number: number, date: date, text: date.Format(time.DateOnly), outside: s.outside(date)}
}

// storable reports whether Postgres takes the day as Go writes it.
func (d *day) storable() bool { return d.date.Year() >= 1 && d.date.Year() <= 9999 }

// appendTime appends a time of the day for COPY, in microseconds, as Postgres keeps it.
func (d *day) appendTime(dst []byte, t time.Time) []byte {
	second := int(t.Unix() - d.number*secondsOfDay)
	dst = append(dst, d.text...)
	dst = appendDigits(append(dst, ' '), second/3600, 2)
	dst = appendDigits(append(dst, ':'), second/60%60, 2)
	dst = appendDigits(append(dst, ':'), second%60, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, "+00"...)
}

// appendDigits appends the last digits of n, with zeros before it.
func appendDigits(dst []byte, n, digits int) []byte {
	for range digits {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0 && digits > 0; i, n, digits = i-1, n/10, digits-1 {
		dst[i] = byte('0' + n%10)
	}
	return dst
}
