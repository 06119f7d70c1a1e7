package recover

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"cloakroom/dataset"
	"cloakroom/internal/secret"
)

// Column is a column of what was opened.
type Column struct {
	Name    string
	Numeric bool // its values are integers
}

// Record is one opened row, a value a column, as text; nil where there is none, or where it was erased.
//
// It prints as [redacted]: what is to be shown is written value by value.
type Record [][]byte

// Format writes [redacted], whatever the verb.
func (Record) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redacted) }

// MarshalText returns [redacted], for JSON and structured logs.
func (Record) MarshalText() ([]byte, error) { return []byte(secret.Redacted), nil }

// Names of columns that every dataset has.
const (
	columnKind   = "kind" // login or rejection; only where both may come
	columnID     = "message_id"
	columnDate   = "create_date"
	columnReason = "reason" // a rejection's reason code
)

// columnsOf lists the columns of what fields open: what each row is, then the fields as they were asked for.
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

// appendRecord appends a record to dst: each value as its length plus one in a uvarint, 0 for none, and its bytes.
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
	noField fieldKind = iota // not one of a row: a rejection's body, or nothing at all
	clearField
	protectedField
)

// kindOf finds a field that can be asked for: a member of the dataset, or the text of a version as it was sent.
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
