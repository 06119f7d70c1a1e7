package leakage

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
)

// maxLine bounds a line of public counts, in bytes.
const maxLine = 4 << 20

// maxCount is the most that a value may occur: counts are added up and multiplied, and may not overflow.
const maxCount = 1 << 40

// Public is how often a value occurs in public.
type Public struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
}

// ReadAuxiliary reads public counts: CSV with a head that names the columns value and count, or JSON Lines. It tells
// them apart by the first character. An error names the line, and no value.
func ReadAuxiliary(r io.Reader) ([]Public, error) {
	in := bufio.NewReader(r)
	first, err := in.Peek(1)
	if err != nil {
		return nil, errors.New("the file is empty")
	}
	var out []Public
	if first[0] == '{' {
		out, err = readJSONLines(in)
	} else {
		out, err = readCSV(in)
	}
	if err == nil && len(out) == 0 {
		err = errors.New("the file has no values")
	}
	return out, err
}

func readJSONLines(r io.Reader) ([]Public, error) {
	var out []Public
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var p Public
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil || p.Count <= 0 || p.Count > maxCount {
			return nil, fmt.Errorf(`line %d: want {"value": TEXT, "count": a number from 1 to %d}`, n, maxCount)
		}
		out = append(out, p)
	}
	return out, lines.Err()
}

func readCSV(r io.Reader) ([]Public, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	head, err := in.Read()
	if err != nil {
		return nil, errors.New("line 1: no CSV")
	}
	value, count := -1, -1
	for i, name := range head {
		switch name {
		case "value":
			value = i
		case "count":
			count = i
		}
	}
	if value < 0 || count < 0 {
		return nil, errors.New("line 1: want a head with the columns value and count")
	}
	var out []Public
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		line, _ := in.FieldPos(0)
		if err != nil {
			return nil, fmt.Errorf("line %d: no CSV, or another number of columns than the head", line)
		}
		n, err := strconv.ParseInt(record[count], 10, 64)
		if err != nil || n <= 0 || n > maxCount {
			return nil, fmt.Errorf("line %d: count is no number from 1 to %d", line, maxCount)
		}
		out = append(out, Public{record[value], n})
	}
}
