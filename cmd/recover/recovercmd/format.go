package recovercmd

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

// encoding is how opened rows are written.
type encoding struct {
	format   string // table, json or csv
	terminal bool   // a person reads it: no value may command the terminal
	rawCSV   bool   // write cells that a spreadsheet would run as formulas
}

func (e encoding) write(w io.Writer, o *recovery.OpenedRows) error {
	switch e.format {
	case "json":
		return writeJSON(w, o)
	case "csv":
		return e.writeCSV(w, o)
	}
	return writeTable(w, o)
}

// tablePart is how many rows are laid out together. A table of a million rows does not fit in
// memory.
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
			if cells[i] = cli.Text(string(v)); v == nil {
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

// writeCSV writes RFC 4180.
func (e encoding) writeCSV(w io.Writer, o *recovery.OpenedRows) error {
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
			cells[i] = e.csvCell(string(v), o.Columns[i].Numeric)
		}
		return out.Write(cells)
	})
	if err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// formulaStarts are the characters that make a spreadsheet take a cell for a formula, and those
// that it drops before it looks (OWASP, "CSV Injection").
const formulaStarts = "=+-@\t\r\n＝＋－＠"

// csvCell guards a cell: anyone who logs in can send =HYPERLINK(…) as a device id, and an auditor
// opens the file in a spreadsheet. Our own integers need no guard.
func (e encoding) csvCell(text string, numeric bool) string {
	first, _ := utf8.DecodeRuneInString(text)
	if text != "" && !numeric && !e.rawCSV && strings.ContainsRune(formulaStarts, first) {
		text = "'" + text
	}
	if e.terminal {
		text = cli.Text(text)
	}
	return text
}

// writeJSON writes one array with an object a line. Bytes that are not UTF-8, as a rejected body
// may be, come under the column's name with _base64 after it.
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
		case c.JSON:
			b = appendJSON(b, text)
		default:
			b = appendString(b, string(text))
		}
	}
	return append(b, '}')
}

// appendJSON appends a value that is a JSON text already, without its white space, and escaped as
// appendString does.
func appendJSON(b, text []byte) []byte {
	v := jsontext.Value(bytes.Clone(text))
	defer func() { clear(v) }()
	if v.Compact() != nil {
		return appendString(b, string(text))
	}
	return append(b, cli.Text(string(v))...)
}

// appendString quotes text. It also escapes what JSON allows and a terminal would obey (U+007F to
// U+009F, characters that reverse text): a file may be shown with cat. The escapes are JSON's own,
// so every reader gets the exact value.
func appendString(b []byte, text string) []byte {
	begin := len(b)
	b, err := jsontext.AppendQuote(b, text)
	if err != nil {
		panic(err) // text is valid UTF-8
	}
	quoted := string(b[begin:])
	return append(b[:begin], cli.Text(quoted)...)
}
