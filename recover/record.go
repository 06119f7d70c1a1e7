package recover

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/secret"
)

// Column is a column of opened rows.
type Column struct {
	Name    string
	Numeric bool // its values are integers
}

// Record is one opened row: a text for each column, nil where there is none or where it was erased.
//
// It prints as [redacted], so that no log or panic shows it. Output writes it value by value.
type Record [][]byte

// Format writes [redacted], whatever the verb.
func (Record) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Record) MarshalText() ([]byte, error) { return []byte(secret.Redacted), nil }

// Names of columns that every dataset has.
const (
	columnKind   = "kind" // row or rejection; only if both may come
	columnID     = "message_id"
	columnDate   = "create_date"
	columnReason = "reason" // a rejection's reason code
)

// columnsOf lists the columns that fields open: what identifies a row, then the fields in the order
// of the request.
func columnsOf(d *dataset.Dataset, fields []string) []Column {
	columns := []Column{{Name: columnID}, {Name: columnDate}, {Name: d.Subject}}
	body := slices.Contains(fields, dataset.BodyField)
	if body {
		columns = append([]Column{{Name: columnKind}}, columns...)
	}
	for _, f := range fields {
		if kind, numeric := kindOf(d, f); kind != noField && f != d.Subject {
			columns = append(columns, Column{Name: f, Numeric: numeric})
		}
	}
	if body {
		columns = append(columns, Column{Name: columnReason}, Column{Name: dataset.BodyField})
	}
	return columns
}

// appendRecord appends a record to dst: each value as its length plus one in a uvarint, 0 for none,
// and its bytes.
func appendRecord(dst []byte, r Record) []byte {
	for _, v := range r {
		if v == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(v))+1)
		dst = append(dst, v...)
	}
	return dst
}

// nextRecord reads a record of n values from the front of b. The values are parts of b.
func nextRecord(b []byte, n int, into Record) (Record, []byte) {
	into = into[:0]
	for range n {
		size, used := binary.Uvarint(b)
		b = b[used:]
		if size == 0 {
			into = append(into, nil)
			continue
		}
		into = append(into, b[:size-1:size-1])
		b = b[size-1:]
	}
	return into, b
}

// fieldKind says how the vault keeps a field.
type fieldKind int

const (
	noField fieldKind = iota // not in a row: a rejection's body, or no field at all
	clearField
	protectedField
)

// kindOf finds a field that a request may name: a member of the dataset, or the text of a version
// as it was sent.
func kindOf(d *dataset.Dataset, field string) (kind fieldKind, numeric bool) {
	for i := range d.Members {
		m := &d.Members[i]
		switch {
		case m.Name == field && m.Protect != nil:
			return protectedField, false
		case m.Name == field:
			return clearField, m.Type == dataset.Version
		case m.Type == dataset.Version && m.TextColumn() == field:
			return clearField, false
		}
	}
	return noField, false
}

// The kinds of row, as hand_out marks them.
const (
	kindRow       = 1
	kindRejection = 2
)

// handedRow is a row as the database hands it out: the binary form of an array of bytea. Its slices
// point into what was sent.
type handedRow struct {
	kind    byte
	id      uuid.UUID
	date    []byte // days since 2000-01-01
	subject []byte // nil: none
	keyID   uint32 // 0: erased
	values  [][]byte
}

// name is the kind as output shows it.
func (r *handedRow) name() string {
	if r.kind == kindRejection {
		return "rejection"
	}
	return "row"
}

// parse reads a row: the five values that every row has, then values more. It reports whether sent
// is such a row.
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

// value is the n-th value after the five.
func (r *handedRow) value(n int) []byte { return r.values[5+n] }

// arrayHeader is the size of what begins Postgres's binary form of an array of one dimension:
// number of dimensions, whether there are NULLs, the element's type, the length, the first index; 4
// bytes each, big endian.
const arrayHeader = 20

// splitArray finds the n elements of an array of bytea in Postgres's binary form: each has its
// length in 4 bytes, -1 for NULL, and its bytes. It returns nil unless b is exactly n elements.
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
