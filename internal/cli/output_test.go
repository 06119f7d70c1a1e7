package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// commands are what a terminal obeys, or what hides or turns round the text beside it.
var commands = []rune{
	0x00, 0x07, 0x08, '\r', 0x1b, 0x7f, 0x80, 0x85, 0x9b, 0x9d, 0x061c, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d,
	0x202e, 0x2066, 0x2067, 0x2068, 0x2069, 0xfeff, 0xe0041,
}

func TestNothingCommandsATerminal(t *testing.T) {
	for _, r := range commands {
		text := "before" + string(r) + "after"
		var out bytes.Buffer
		s := &stream{w: &out}
		Printf(s, "%s|%v\n", text, errors.New(text))
		_, _ = fmt.Fprintf(s, "%s\n", text)
		if strings.ContainsRune(out.String(), r) {
			t.Errorf("U+%04X went through: %q", r, &out)
		}
		out.Reset()
		if err := PrintJSON(s, map[string]string{"kek": text}); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(out.String(), r) {
			t.Errorf("U+%04X went through in JSON: %q", r, &out)
		}
		var back map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["kek"] != text {
			t.Errorf("the JSON says %q (%v), want %q", back["kek"], err, text)
		}
	}
	if got := Text("a\nkeys: done\tb"); got != `a\u000akeys: done\u0009b` {
		t.Errorf("a faked line: %q", got)
	}
	// A byte that is no UTF-8 is CSI to a terminal of eight bits.
	if got := Text("a\x9b31mb"); got != `a\x9b31mb` {
		t.Errorf("%q", got)
	}
	if plain := "Zoë 東京 · → ✓ 🙂"; Text(plain) != plain {
		t.Errorf("%q is not left alone: %q", plain, Text(plain))
	}
}

// A character may arrive in two writes: neither half is taken for a byte that is no text.
func TestStreamJoinsCharacters(t *testing.T) {
	text := "é東🙂\u202e."
	for split := 1; split < len(text); split++ {
		var out bytes.Buffer
		s := &stream{w: &out}
		_, _ = s.Write([]byte(text[:split]))
		_, _ = s.Write([]byte(text[split:]))
		if got := out.String(); got != `é東🙂\u202e.` || !utf8.ValidString(got) {
			t.Errorf("split at %d: %q", split, got)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	table := NewTable("KEY", "BY")
	table.Row("data 1", "eve\nroot\t\x1b[2J")
	table.Row("data 20", nil)
	if err := table.Print(&stream{w: &out}); err != nil {
		t.Fatal(err)
	}
	want := "KEY      BY\ndata 1   eve\\u000aroot\\u0009\\u001b[2J\ndata 20  \n"
	if out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 rows": Count(0, "row"), "1 row": Count(1, "row"), "2 rows": Count(int64(2), "row"), "2 entries": Count(2, "entry", "entries"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
