package recover

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"cloakroom/crypto/envelope"
)

// The kinds of row, as hand_out marks them.
const (
	kindLogin     = 1
	kindRejection = 2
)

// handedRow is a row as the database hands it out. Its slices are parts of what was sent.
type handedRow struct {
	kind    byte
	id      uuid.UUID
	date    []byte // days since 2000-01-01
	subject []byte // nil: none
	keyID   uint32 // 0: erased
	values  [][]byte
}

// name is the kind as people read it.
func (r *handedRow) name() string {
	if r.kind == kindRejection {
		return "rejection"
	}
	return "login"
}

// parse reads a row of so many values after the five that every row has. It reports whether it is one.
func (r *handedRow) parse(sent []byte, values int) bool {
	all := splitArray(sent, 5+values, r.values)
	if all == nil {
		return false
	}
	r.values = all
	if len(all[0]) != 1 || len(all[1]) != 16 || len(all[2]) != 4 || all[4] != nil && len(all[4]) != 4 {
		return false
	}
	r.kind, r.id, r.date, r.subject, r.keyID = all[0][0], uuid.UUID(all[1]), all[2], all[3], 0
	if all[4] != nil {
		r.keyID = binary.BigEndian.Uint32(all[4])
		return r.keyID >= 1 && r.keyID <= envelope.MaxKeyID
	}
	return true
}

// value is the n'th value after the five.
func (r *handedRow) value(n int) []byte { return r.values[5+n] }

// arrayHeader is what Postgres's binary form of an array of one dimension begins with: the number of dimensions, whether
// there are NULLs, the element's type, the length, the first index; 4 bytes each, big endian.
const arrayHeader = 20

// splitArray finds the n elements of an array of bytea in Postgres's binary form: each has its length in 4 bytes, -1 for
// NULL, and its bytes. It returns nil for what is not n elements and nothing more.
func splitArray(b []byte, n int, into [][]byte) [][]byte {
	into = into[:0]
	if len(b) < arrayHeader || binary.BigEndian.Uint32(b) != 1 || binary.BigEndian.Uint32(b[12:]) != uint32(n) {
		return nil
	}
	b = b[arrayHeader:]
	for range n {
		if len(b) < 4 {
			return nil
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if size == 1<<32-1 {
			into = append(into, nil)
			continue
		}
		if uint64(len(b)) < uint64(size) {
			return nil
		}
		into = append(into, b[:size:size])
		b = b[size:]
	}
	if len(b) > 0 {
		return nil
	}
	return into
}

// epoch is Postgres's day 0.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// day is a date and its text, kept because most rows in a block share it.
type day struct {
	sent [4]byte
	date time.Time
	text string
}

func (d *day) of(sent []byte) string {
	if at := [4]byte(sent); d.text == "" || d.sent != at {
		days := int32(binary.BigEndian.Uint32(sent))
		d.sent, d.date = at, epoch.AddDate(0, 0, int(days))
		d.text = d.date.Format(time.DateOnly)
	}
	return d.text
}
