package events_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"cloakroom/internal/events"
)

// read gives each event with the number of its line.
func read(in io.Reader) ([]string, error) {
	r, err := events.NewReader(in)
	if err != nil {
		return nil, err
	}
	var out []string
	for {
		body, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, fmt.Sprintf("%d:%s", r.Line(), body))
	}
}

// An error names a line as an editor counts it. Package etl/source tests what an event is.
func TestLinesAreCountedAsInAnEditor(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{}\n{\"a\":1}\n":        `["1:{}" "2:{\"a\":1}"]`,
		"\ufeff\n \r\n{}\n\n[1]": `["3:{}" "5:[1]"]`,
		" \n [1,\n2 ,\n{}]":      `["1:1" "2:2" "3:{}"]`, // of an array, the element
		"":                       `[]`,
	} {
		if got, err := read(strings.NewReader(text)); err != nil || fmt.Sprintf("%q", got) != want {
			t.Errorf("%q: %q (%v), want %s", text, got, err, want)
		}
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	for _, part := range []string{"{}\n", "[1]\n"} { // two members, as cat makes them
		w := gzip.NewWriter(&packed)
		_, _ = io.WriteString(w, part)
		_ = w.Close()
	}
	whole := packed.Bytes()
	if got, err := read(bytes.NewReader(whole)); err != nil || fmt.Sprint(got) != "[1:{} 2:[1]]" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := read(bytes.NewReader(whole[:len(whole)-3])); err == nil {
		t.Errorf("a file that was cut off gave %v, %v", got, err)
	}
	if _, err := read(strings.NewReader("\x1f\x8b no gzip")); err == nil {
		t.Error("a file that only begins like gzip was read")
	}
}
