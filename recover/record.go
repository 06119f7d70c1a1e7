package recover

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/internal/secret"
)

// Column is a column of opened rows.
type Column struct {
	Name    string
	Numeric bool // its values are JSON numbers
	JSON    bool // its values are JSON texts: numbers, true and false, or any JSON

	from  origin
	index int // among the row's clear values, or its sealed ones
}

// origin says where a column's value comes from.
type origin int

const (
	fromKind    origin = iota // row or rejection; only if both may come
	fromID                    // the row's id, or the rejection's message id
	fromDate                  // create_date
	fromSubject               // whose it is, where the dataset knows
	fromClear
	fromSealed
	fromReason // a rejection's reason code
	fromBody
)

// Record is one opened row: a text for each column, nil where there is none or where it was erased.
//
// It prints as [redacted], so that no log or panic shows it. Output writes it value by value.
type Record [][]byte

// Format writes [redacted], whatever the verb.
func (Record) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Record) MarshalText() ([]byte, error) { return []byte(secret.Redacted), nil }

// columnsOf lists the columns that fields open: what identifies a row, then the fields in the order
// of the request. hand_out gives clear and sealed values each in that order, too.
func columnsOf(d *dataset.Dataset, fields []string) []Column {
	var columns []Column
	stored := storedFields(d)
	// A member's name does not end with _, so this is nobody else's.
	free := func(name string) string {
		if _, taken := stored[name]; taken {
			name += "_"
		}
		return name
	}
	body := slices.Contains(fields, dataset.BodyField)
	if body {
		columns = append(columns, Column{Name: free("kind"), from: fromKind})
	}
	columns = append(columns, Column{Name: "row_id", from: fromID}, Column{Name: "create_date", from: fromDate})
	if d.Subject != "" {
		columns = append(columns, Column{Name: d.Subject, from: fromSubject})
	}
	next := map[origin]int{}
	for _, f := range fields {
		c, ok := stored[f]
		if !ok {
			continue // a rejection's body
		}
		c.index = next[c.from]
		next[c.from]++
		if f != d.Subject {
			columns = append(columns, c)
		}
	}
	if body {
		columns = append(columns, Column{Name: free("reason"), from: fromReason},
			Column{Name: dataset.BodyField, from: fromBody})
	}
	return columns
}

// storedFields are the fields of a row that a request may name: members, a version's text as it was
// sent, and what members reveal.
func storedFields(d *dataset.Dataset) map[string]Column {
	fields := map[string]Column{}
	for _, c := range d.TableColumns(nil) {
		f := Column{Name: c.Name, from: fromClear}
		switch c.Role {
		case dataset.RoleClear, dataset.RoleSealed:
			m := &d.Members[c.Member]
			f.Name = m.Name
			f.Numeric, f.JSON = shownAs(m)
			if c.Role == dataset.RoleSealed {
				f.from = fromSealed
			}
		case dataset.RoleText, dataset.RoleReveal:
		default:
			continue
		}
		fields[f.Name] = f
	}
	return fields
}

// shownAs says whether a member's values are JSON texts of their own, and numbers among them. What is
// sealed is the text as it was sent: a decimal may have come as a string, and a version as 2.1.
func shownAs(m *dataset.Member) (numeric, asJSON bool) {
	clearText := m.Protect == nil
	switch m.Type {
	case dataset.Integer:
		return true, true
	case dataset.Decimal, dataset.Version:
		return clearText, clearText
	case dataset.Boolean, dataset.JSON:
		return false, true
	}
	return false, false
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
	date    []byte // days since 2000-01-01; nil: a rejection whose message had no date
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
	all, ok := pg.SplitArray(sent, r.values)
	if r.values = all; !ok || len(all) != 5+values {
		return false
	}
	if len(all[0]) != 1 || len(all[1]) != 16 || all[4] != nil && len(all[4]) != 4 {
		return false
	}
	// Only a rejection may have no date.
	if len(all[2]) != 4 && (all[2] != nil || all[0][0] != kindRejection) {
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
