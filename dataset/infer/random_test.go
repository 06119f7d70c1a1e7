package infer_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"cloakroom/dataset"
	"cloakroom/dataset/infer"
	"cloakroom/dataset/trial"
)

// pools are values of one kind each, as JSON; a member draws from one or two of them.
var pools = [][]string{
	{`"ada@example.com"`, `"Ada.L@example.org"`, `" grace@example.net "`, `"none"`, `"N/A"`, `"none@example.com"`},
	{`"203.0.113.9"`, `"::ffff:203.0.113.9"`, `"2001:db8::1"`, `"-"`, `"0.0.0.0"`, `"203.0.113.999"`},
	{`"+49 170 5550100"`, `"(555) 555-0100"`, `"0170/5550100"`, `"unknown"`, `"ext"`, `4917055501`},
	{`"4000000000000002"`, `"4000 0000 0000 0002"`, `4000000000000002`, `"0000000000000000"`},
	{`"2026-01-31"`, `"1970-01-01"`, `"31.01.2026"`}, {`"2026-01-31T10:00:00Z"`, `"2026-01-31T11:00:00.5+01:00"`, `"2026-01-31 10:00"`},
	{`"6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08"`, `"6F1C8E0A-3B52-4D17-9A40-5C2E7D9B1F08"`, `"00000000-0000-0000-0000-000000000000"`},
	{`1`, `2`, `-3`, `9223372036854775807`}, {`1.5`, `0.30000000000000004`, `1e3`, `-0.0`, `1e400`}, {`18446744073709551616`, `1e-9`},
	{`"1.50"`, `"19.99"`, `"0.1"`}, {`"2.3.0"`, `"2.3"`, `2.4`, `2`, `"2.3.0-beta"`}, {`true`, `false`}, {`null`},
	{`""`, `" "`, `"\u00a0"`, `"…"`, `"\u0000"`, `"\u0301"`}, {`{}`, `{"a":1}`, `[]`, `[1,"x@example.com"]`, `{"a":{"b":"\u0000"}}`},
	{`"android"`, `"ios"`}, {`"x y z and more"`, `"Call 10.0.0.1 or ada@example.com today"`}, {`"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x"`},
}

var memberNames = []string{
	"email", "eMail", "ip", "phone", "telefon", "card", "user_id", "kundennummer", "id", "order_id", "time", "created_at", "version",
	"app-version", "status", "name", "a", "b.c", "straße", "sent", "sealed_x", "", "_", "日本", "/x", "~", "null", "1st", "x\u0000y",
	"address", "geburtsdatum", "session", "token", "lat", strings.Repeat("long", 12), strings.Repeat("long", 12) + "er",
	"ada@example.com", "body", "message_id", "version_text",
}

// jsonMember draws a member's value.
func jsonMember(t *rapid.T, from [][]string, depth int) string {
	switch n := rapid.IntRange(0, 11).Draw(t, "how"); {
	case n == 0:
		text, _ := jsontext.AppendQuote(nil, strings.ToValidUTF8(rapid.String().Draw(t, "text"), "?"))
		return string(text)
	case n == 1 && depth < 4:
		return object(t, map[string][][]string{}, depth+1)
	}
	pool := rapid.SampledFrom(from).Draw(t, "pool")
	return rapid.SampledFrom(pool).Draw(t, "value")
}

// object draws an object. kinds keeps which pools a member draws from.
func object(t *rapid.T, kinds map[string][][]string, depth int) string {
	var members []string
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(memberNames), 0, 6, rapid.ID[string]).Draw(t, "names") {
		if kinds[name] == nil {
			kinds[name] = rapid.SliceOfN(rapid.SampledFrom(pools), 1, 2).Draw(t, "pools")
		}
		quoted, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, string(quoted)+":"+jsonMember(t, kinds[name], depth))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// sample draws events, some of them broken.
func sample(t *rapid.T) [][]byte {
	kinds := map[string][][]string{}
	var out [][]byte
	for range rapid.IntRange(1, 40).Draw(t, "events") {
		switch rapid.IntRange(0, 30).Draw(t, "broken") {
		case 0:
			out = append(out, []byte(rapid.SampledFrom([]string{"{", "[]", "x", `{"a":1,"a":2}`, "{} {}", "\xff", `"x"`}).Draw(t, "text")))
		default:
			out = append(out, []byte(object(t, kinds, 0)))
		}
	}
	return out
}

// What is drafted can be applied, and each event of the sample is stored by it, or was said to be none: what is dropped
// was counted to the last value.
func TestEverySampleIsStoredByItsDraft(t *testing.T) {
	t.Parallel()
	drafted := 0
	rapid.Check(t, func(t *rapid.T) {
		events := sample(t)
		s, again := infer.NewSample(), infer.NewSample()
		for i, body := range events {
			s.Add(int64(i+1), body)
			again.Add(int64(i+1), body)
		}
		draft, err := s.Draft(infer.Options{Name: "thing"})
		if err != nil {
			if !strings.Contains(err.Error(), "no event of the sample") {
				t.Fatal(err)
			}
			return
		}
		drafted++
		if second, err := again.Draft(infer.Options{Name: "thing"}); err != nil || !bytes.Equal(draft.YAML, second.YAML) {
			t.Fatalf("a second draft differs (%v):\n%s\n%s", err, draft.YAML, second.YAML)
		}
		check(t, draft, events)
	})
	if drafted < 50 {
		t.Errorf("only %d samples gave a draft", drafted)
	}
}

type failer interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Helper()
}

// check holds a draft to its sample.
func check(t failer, draft *infer.Draft, events [][]byte) {
	t.Helper()
	d, problems := dataset.Lint(draft.YAML)
	if d == nil {
		t.Fatalf("the draft has mistakes: %v\n%s", problems.Errors(), draft.YAML)
	}
	for line := range strings.Lines(string(draft.YAML)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") && len([]rune(line)) > 81 && strings.Count(line, " ") > 4 {
			t.Fatalf("a comment is wider than a terminal: %s", line)
		}
	}
	run, err := trial.New(d)
	if err != nil {
		t.Fatal(err)
	}
	broken, foreign := int64(0), int64(0)
	for _, l := range draft.Broken {
		broken += l.N
	}
	if draft.Foreign != nil {
		foreign = draft.Foreign.N
	}
	dropped := map[string]int64{}
	rejected, missing := int64(0), int64(0)
	for i, body := range events {
		out, err := run.Try(int64(i+1), body)
		if err != nil {
			t.Fatal(err)
		}
		for _, drop := range out.Dropped {
			dropped[drop.Member]++
		}
		switch {
		case out.Outcome != trial.Rejected:
		case out.Member == "":
			rejected++
		case out.Reason == dataset.MissingField || out.Reason == dataset.NullField:
			missing++
		default:
			t.Fatalf("event %d is rejected: %s %s\n%s\n%s", i+1, out.Reason, out.Member, body, draft.YAML)
		}
	}
	if rejected != broken {
		t.Fatalf("%d events are broken, and the draft says %d", rejected, broken)
	}
	for _, m := range draft.Members {
		lacking := draft.Events - m.Values
		if m.Required && (m.Name == draft.ID || m.Name == draft.Time) {
			missing -= lacking
			if lacking > 0 && !strings.Contains(fmt.Sprint(m.Notes), "would be rejections") {
				t.Fatalf("it is not said that %d events lack %s", lacking, m.Name)
			}
		} else if m.Required && lacking > 0 {
			t.Fatalf("%s is required, and %d events lack it", m.Name, lacking)
		}
		// A foreign event is rejected, where something is required; else it is stored, with little in its row.
		if dropped[m.Name] != m.Dropped && (foreign == 0 || dropped[m.Name] < m.Dropped) {
			t.Fatalf("%+v: %d values are dropped, and the draft says %d\n%s", m, dropped[m.Name], m.Dropped, draft.YAML)
		}
	}
	if missing > foreign {
		t.Fatalf("%d events are rejected without a word\n%s", missing-foreign, draft.YAML)
	}
}
