package recovercmd

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	recovery "cloakroom/recover"
)

func writeRecords(w io.Writer, format string, terminal bool, o *recovery.OpenedRows) error {
	switch format {
	case "json":
		return writeJSON(w, o)
	case "csv":
		return writeCSV(w, terminal, o)
	}
	return writeTable(w, o)
}

// tablePart is how many rows are laid out together: a table of a million rows is not held in memory.
const tablePart = 1000

func writeTable(w io.Writer, o *recovery.OpenedRows) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var names []string
	for _, c := range o.Columns {
		names = append(names, strings.ToUpper(c.Name))
	}
	fmt.Fprintln(table, strings.Join(names, "\t"))
	n := 0
	cells := make([]string, len(o.Columns))
	err := o.Each(func(r recovery.Record) error {
		for i, v := range r {
			if cells[i] = visible(string(v)); v == nil {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
		if n++; n%tablePart == 0 {
			return table.Flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return table.Flush()
}

// writeCSV writes RFC 4180. A spreadsheet may take a value for a formula: that is the importer's to prevent, a value is
// not altered for it. On a terminal alone it is made harmless.
func writeCSV(w io.Writer, terminal bool, o *recovery.OpenedRows) error {
	out := csv.NewWriter(w)
	var cells []string
	for _, c := range o.Columns {
		cells = append(cells, c.Name)
	}
	if err := out.Write(cells); err != nil {
		return err
	}
	err := o.Each(func(r recovery.Record) error {
		for i, v := range r {
			if cells[i] = string(v); terminal {
				cells[i] = visible(cells[i])
			}
		}
		return out.Write(cells)
	})
	if err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// writeJSON writes one array with an object a line. Bytes that are no UTF-8, as a rejected body may be, come under the
// column's name with _base64 after it.
func writeJSON(w io.Writer, o *recovery.OpenedRows) error {
	begin := "[\n"
	var line []byte
	err := o.Each(func(r recovery.Record) error {
		line = append(line[:0], begin...)
		begin = ",\n"
		line = appendObject(line, o.Columns, r)
		_, err := w.Write(line)
		return err
	})
	if err != nil {
		return err
	}
	if begin == "[\n" {
		_, err = io.WriteString(w, "[]\n")
	} else {
		_, err = io.WriteString(w, "\n]\n")
	}
	return err
}

func appendObject(b []byte, columns []recovery.Column, r recovery.Record) []byte {
	b = append(b, '{')
	for i, c := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		name, text := c.Name, r[i]
		if !utf8.Valid(text) {
			name, text = c.Name+"_base64", base64.StdEncoding.AppendEncode(nil, text)
		}
		b = appendString(b, name)
		switch b = append(b, ':'); {
		case text == nil:
			b = append(b, "null"...)
		case c.Numeric:
			b = append(b, text...)
		default:
			b = appendString(b, string(text))
		}
	}
	return append(b, '}')
}

// appendString quotes text; what a terminal would obey and JSON would let through (U+007F to U+009F, and marks that
// reorder text) is escaped too.
func appendString(b []byte, text string) []byte {
	begin := len(b)
	b, err := jsontext.AppendQuote(b, text)
	if err != nil {
		panic(err) // text is valid UTF-8
	}
	if visible(text) == text {
		return b
	}
	quoted := string(b[begin:])
	b = b[:begin]
	for _, r := range quoted {
		if r < 0x7f || visible(string(r)) == string(r) {
			b = utf8.AppendRune(b, r)
			continue
		}
		if r > 0xffff {
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		b = fmt.Appendf(b, `\u%04x`, r)
	}
	return b
}
