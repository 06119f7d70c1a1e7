package dataset_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"cloakroom/crypto/blindindex"
	"cloakroom/dataset"
)

// full is an order with every member.
const full = `{"order_id":"o-1","placed_at":"2026-03-14T10:20:30.1234567+02:00","amount":12.50,"items":3,"gift":true,` +
	`"deliver_on":"2026-03-20","status":"paid","coupon":"SPRING26","shop_app":"2.10","tags":{"a":[1,"b"]},"relay":"::FFFF:203.0.113.9",` +
	`"customer":{"id":"6F1C8E0A3B524D179A405C2E7D9B1F08","email":" Ann@Example.com "},"payment":{"card.number":"4929 1234 5678 9012"},` +
	`"client":"2001:DB8::1","address":{"street": "S\u00fcd 1"},"born_on":"1980-02-29","unknown":[{}]}`

// with is the order with one part of its text replaced.
func with(t testing.TB, old, text string) string {
	t.Helper()
	if strings.Count(full, old) != 1 {
		t.Fatalf("%q stands %d times in the order", old, strings.Count(full, old))
	}
	return strings.Replace(full, old, text, 1)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	d := order(t)
	dec := dataset.NewDecoder(d)
	e, rejection := dec.Decode([]byte(full))
	if rejection != (dataset.Rejection{}) || len(e.Dropped) > 0 {
		t.Fatalf("%+v, %+v", rejection, e.Dropped)
	}
	want := map[string][2]string{ // sealed and canonical
		"order_id": {"o-1", "o-1"}, "customer_id": {"6F1C8E0A3B524D179A405C2E7D9B1F08",
			"6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08"},
		"placed_at": {"2026-03-14T10:20:30.1234567+02:00", "2026-03-14T08:20:30.123456Z"},
		"amount":    {"12.50", "12.5"}, "items": {"3", "3"}, "gift": {"true", "true"}, "deliver_on": {"2026-03-20",
			"2026-03-20"},
		"status": {"paid", "paid"}, "coupon": {"SPRING26", "SPRING26"}, "shop_app": {"2.10", "2.10"},
		"tags": {`{"a":[1,"b"]}`, `{"a":[1,"b"]}`}, "relay": {"::FFFF:203.0.113.9", "203.0.113.9"},
		"email": {" Ann@Example.com ", " Ann@Example.com "}, "card": {"4929 1234 5678 9012", "4929 1234 5678 9012"},
		"client": {"2001:DB8::1", "2001:DB8::1"}, "address": {`{"street": "S\u00fcd 1"}`, `{"street": "S\u00fcd 1"}`},
		"born_on": {"1980-02-29", "1980-02-29"},
	}
	for i, m := range d.Members {
		if v := e.Values[i]; v.Null || string(v.Text) != want[m.Name][0] || string(v.Canonical) != want[m.Name][1] {
			t.Errorf("%s: %q and %q, want %q", m.Name, v.Text, v.Canonical, want[m.Name])
		}
	}
	if string(e.Subject) != "6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08" || !e.Time.Equal(time.Date(2026, 3, 14, 8, 20, 30,
		123456000, time.UTC)) {
		t.Errorf("subject %q, time %v", e.Subject, e.Time)
	}
	// By Python's uuid5(uuid5(name space, "order"), "o-1"). Row ids are bound into sealed values: this never changes.
	if want := uuid.MustParse("468e20b6-af27-54ba-9a20-44bc421ab743"); e.Row != want {
		t.Errorf("row %v, want %v", e.Row, want)
	}
}

// Why an event is a rejection, and which member is at fault.
func TestRejections(t *testing.T) {
	t.Parallel()
	dec := dataset.NewDecoder(order(t))
	for _, c := range []struct {
		body   string
		reason dataset.Reason
		member string
	}{
		{"", dataset.NotJSON, ""},
		{full + full, dataset.NotJSON, ""},
		{full[:len(full)-1], dataset.NotJSON, ""},
		{"[" + full + "]", dataset.NotObject, ""},
		{"[1] x", dataset.NotJSON, ""},
		{with(t, `"unknown":[{}]`, `"customer":{}`), dataset.DuplicateMember, ""},
		{with(t, `"unknown":[{}]`, `"unknown":[{"a":1,"a":2}]`), dataset.DuplicateMember, ""},
		{with(t, `"email":" Ann@Example.com "`, `"id":1`), dataset.DuplicateMember, ""},
		{with(t, "paid", "p\xff"), dataset.InvalidUTF8, ""},
		{with(t, "paid", `\ud800`), dataset.InvalidUTF8, ""},
		{with(t, `[{}]`, strings.Repeat("[", 10_001)), dataset.TooDeep, ""},
		{with(t, `"order_id":"o-1",`, ""), dataset.MissingField, "order_id"},
		{with(t, `"o-1"`, `""`), dataset.MissingField, "order_id"},
		{with(t, `"o-1"`, `null`), dataset.NullField, "order_id"},
		{with(t, `"o-1"`, `7`), dataset.WrongType, "order_id"},
		{with(t, `"o-1"`, `"\u0000"`), dataset.NUL, "order_id"},
		{with(t, `"o-1"`, `"`+strings.Repeat("é", 65)+`"`), dataset.TooLong, "order_id"},
		{with(t, `{"id":"6F1C8E0A3B524D179A405C2E7D9B1F08","email":" Ann@Example.com "}`, `null`), dataset.NullField,
			"customer_id"},
		{with(t, `{"id":"6F1C8E0A3B524D179A405C2E7D9B1F08","email":" Ann@Example.com "}`, `[]`), dataset.WrongType,
			"customer_id"},
		{with(t, `6F1C8E0A`, `6F1C8E0-`), dataset.BadFormat, "customer_id"},
		{with(t, `+02:00`, ``), dataset.BadFormat, "placed_at"},
		{with(t, `2026-03-14`, `2026-02-29`), dataset.BadFormat, "placed_at"},
		{with(t, `2026-03-14`, `1999-03-14`), dataset.OutOfRange, "placed_at"},
		{with(t, `"items":3`, `"items":3.0`), dataset.BadFormat, "items"},
		{with(t, `"items":3`, `"items":"3"`), dataset.WrongType, "items"},
		{with(t, `"items":3`, `"items":501`), dataset.OutOfRange, "items"},
		{with(t, `"items":3`, `"items":9223372036854775808`), dataset.BadFormat, "items"},
		{with(t, `{"card.number":"4929 1234 5678 9012"}`, `{}`), dataset.MissingField, "card"},
	} {
		body := []byte(c.body)
		if _, got := dec.Decode(body); got != (dataset.Rejection{Reason: c.reason, Member: c.member}) {
			t.Errorf("%.200s: %+v, want %s of %s", c.body, got, c.reason, c.member)
		}
		if string(body) != c.body {
			t.Errorf("%.200s: the body was changed", c.body)
		}
	}
}

// An optional member that cannot be read is NULL and counted; the row is stored.
func TestDropped(t *testing.T) {
	t.Parallel()
	d := order(t)
	dec := dataset.NewDecoder(d)
	for _, c := range []struct {
		old, text, member string
		reason            dataset.Reason // empty: it is read
	}{
		{`12.50`, `12.505`, "amount", dataset.OutOfRange},
		{`12.50`, `-0.01`, "amount", dataset.OutOfRange},
		{`12.50`, `1e6`, "amount", ""},
		{`12.50`, `1000000.01`, "amount", dataset.OutOfRange},
		{`12.50`, `1e999999999`, "amount", dataset.BadFormat},
		{`12.50`, `"12.500"`, "amount", ""},
		{`12.50`, `"12,5"`, "amount", dataset.BadFormat},
		{`"gift":true`, `"gift":"true"`, "gift", dataset.WrongType},
		{`2026-03-20`, `2026-3-20`, "deliver_on", dataset.BadFormat},
		{`2026-03-20`, `2100-01-01`, "deliver_on", dataset.OutOfRange},
		{`"paid"`, `"Paid"`, "status", dataset.NotListed},
		{`SPRING26`, `spring26`, "coupon", dataset.NoMatch},
		{`SPRING26`, `ABC`, "coupon", dataset.TooShort},
		{`SPRING26`, `AAAAA\nA`, "coupon", dataset.NoMatch},
		{`{"a":[1,"b"]}`, `"\u0000"`, "tags", dataset.NUL},
		{`{"a":[1,"b"]}`, `"\\u0000"`, "tags", ""},
		{`{"a":[1,"b"]}`, strings.Repeat("[", 101) + strings.Repeat("]", 101), "tags", dataset.TooDeep},
		{`{"a":[1,"b"]}`, `[1e99999]`, "tags", dataset.OutOfRange},
		{`{"a":[1,"b"]}`, `[1E-1000]`, "tags", ""},
		{`::FFFF:203.0.113.9`, `fe80::1%eth0`, "relay", dataset.BadIP},
		{`2001:DB8::1`, `unknown`, "client", ""}, // listed as nothing
		{`2001:DB8::1`, `none`, "client", dataset.BadIP},
		{`1980-02-29`, `1981-02-29`, "born_on", dataset.BadFormat},
	} {
		e, rejection := dec.Decode([]byte(with(t, c.old, c.text)))
		m := slicesIndex(d, c.member)
		var got dataset.Reason
		if len(e.Dropped) == 1 && e.Dropped[0].Member == m {
			got = e.Dropped[0].Reason
		}
		if rejection.Reason != "" || got != c.reason || len(e.Dropped) > 1 || e.Values[m].Null != (c.reason != "") {
			t.Errorf("%s: %+v, dropped %+v, want %q", c.text, rejection, e.Dropped, c.reason)
		}
	}
	// A version keeps its text.
	for _, text := range []string{`"2.3.0-beta"`, `"1.2.3.4"`, `2147`, `2e0`, `""`} {
		e, rejection := dec.Decode([]byte(with(t, `"2.10"`, text)))
		v := e.Values[slicesIndex(d, "shop_app")]
		if rejection.Reason != "" || len(e.Dropped) != 1 || e.Dropped[0].Reason != dataset.BadVersion || v.Null || v.HasVersion ||
			string(v.Text) != strings.Trim(text, `"`) {
			t.Errorf("version %s: %+v, dropped %+v, value %+v", text, rejection, e.Dropped, v)
		}
	}
}

func slicesIndex(d *dataset.Dataset, name string) int {
	for i := range d.Members {
		if d.Members[i].Name == name {
			return i
		}
	}
	return -1
}

// The subject of a rejection is kept where it can be stored, and only then.
func TestSubjectOfRejection(t *testing.T) {
	t.Parallel()
	dec := dataset.NewDecoder(parse(t, small))
	for body, want := range map[string]string{
		`{"owner":"u","serial":`: "u", `{"owner":"u","owner":"v"}`: "u", `{"owner":"u"} x`: "u", `{"owner":7}`: "",
		`{"owner":""}`:        "",
		`{"owner":"a\u0000"}`: "", `{"owner":"12345678901"}`: "", `[]`: "", `{"owner":"u`: "",
	} {
		if e, rejection := dec.Decode([]byte(body)); rejection.Reason == "" || string(e.Subject) != want {
			t.Errorf("%s: subject %q (%+v), want %q", body, e.Subject, rejection, want)
		}
	}
}

func tokeniser(t testing.TB, d *dataset.Dataset) *dataset.Tokeniser {
	t.Helper()
	tok := tokeniserOf(d)
	if tok == nil {
		t.Fatal("there is no tokeniser")
	}
	return tok
}

// tokeniserOf is a tokeniser under some key; nil: it cannot be made.
func tokeniserOf(d *dataset.Dataset) *dataset.Tokeniser {
	var subkeys []*blindindex.Subkey
	for _, ix := range d.Indexes() {
		s, err := blindindex.Derive(bytes.Repeat([]byte{7}, blindindex.KeySize), d.Name, ix.Member.Name, ix.Transform,
			1)
		if err != nil {
			return nil
		}
		subkeys = append(subkeys, s)
	}
	tok, err := dataset.NewTokeniser(d, subkeys)
	if err != nil {
		return nil
	}
	return tok
}

func TestTokens(t *testing.T) {
	t.Parallel()
	d := order(t)
	tok := tokeniser(t, d)
	token := func(member, kind, text string) string {
		for i, ix := range d.Indexes() {
			if ix.Member.Name == member && ix.Kind == kind {
				out, reason, err := tok.AppendToken(nil, i, []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				return string(out) + string(reason)
			}
		}
		t.Fatalf("no index %s of %s", kind, member)
		return ""
	}
	for _, c := range []struct {
		member, kind, a, b string
		same               bool
	}{
		{"email", "exact", " Ann@Example.com", "ann@example.COM ", true},
		{"email", "exact", "ann@example.com", "bob@example.com", false},
		{"email", "domain", "ann@example.com", "bob@example.com", true},
		{"card", "exact", "4929 1234", "4929-1234", true},
		{"card", "prefix/6", "4929 12 34", "4929 12 99", true},
		{"client", "exact", "::ffff:203.0.113.9", "203.0.113.9", true},
		{"client", "prefix/24", "203.0.113.9", "203.0.113.200", true},
		{"client", "prefix/24", "203.0.113.9", "203.0.114.9", false},
		{"born_on", "exact", "1980-02-29", "1980-02-28", false},
	} {
		a, b := token(c.member, c.kind, c.a), token(c.member, c.kind, c.b)
		if !blindindex.ValidToken(a) || !blindindex.ValidToken(b) || (a == b) != c.same {
			t.Errorf("%s of %s: %q has %s, %q has %s", c.kind, c.member, c.a, a, c.b, b)
		}
	}
	for _, c := range [][4]string{
		{"email", "exact", " NONE@example.com", "-"}, {"email", "domain", "none@example.com", "-"}, {"email",
			"domain", "ann", "-"},
		{"email", "exact", " ", "-"}, {"client", "exact", "unknown", "-"}, {"client", "prefix/24", "::ffff:0.0.0.0",
			"-"},
		{"card", "exact", "n/a", "missing_field"}, {"client", "exact", "none", "bad_ip"},
	} {
		if got := token(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("%s of %s of %q: %q, want %q", c[1], c[0], c[2], got, c[3])
		}
	}
	for _, c := range [][3]string{
		{"card", "4929 1234 5678 9012", "9012"}, {"card", "12345678", ""}, {"client", "203.0.113.9", "203.0.113.0/24"},
		{"client", "2001:db8:1:2::3", "2001:db8:1::/48"}, {"client", "unknown", ""}, {"email", "ann@example.com", ""},
	} {
		got, ok := tok.AppendReveal(nil, slicesIndex(d, c[0]), []byte(c[1]))
		if string(got) != c[2] || ok != (c[2] != "") {
			t.Errorf("%s reveals %q of %q, want %q", c[0], got, c[1], c[2])
		}
	}
}

// Reading and tokens take no memory, event after event.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	body := []byte(full)
	d := order(t)
	dec, tok := dataset.NewDecoder(d), tokeniser(t, d)
	indexes := d.Indexes()
	tokens := make([]byte, 0, 1000)
	if n := testing.AllocsPerRun(200, func() {
		e, rejection := dec.Decode(body)
		if rejection.Reason != "" {
			t.Fatal(rejection)
		}
		tokens = tokens[:0]
		for i := range indexes {
			var err error
			if tokens, _, err = tok.AppendToken(tokens, i, e.Values[slicesIndex(d,
				indexes[i].Member.Name)].Text); err != nil {
				t.Fatal(err)
			}
		}
		for i := range d.Members {
			tokens, _ = tok.AppendReveal(tokens, i, e.Values[i].Text)
		}
	}); n > 0 {
		t.Errorf("an event takes %v allocations", n)
	}
}

// Whatever comes in: no crash, the same answer twice, and what is accepted holds what the definition says.
func FuzzDecode(f *testing.F) {
	text, err := os.ReadFile("testdata/order.yaml")
	if err != nil {
		f.Fatal(err)
	}
	d := parse(f, string(text))
	for _, seed := range []string{
		full, "", "null", "[" + full + "]", full + full, full[:90], "\ufeff" + full, `{"customer":[]}`,
		`{"customer":{"id":1,"id":2}}`,
		with(f, "12.50", "1e-3"), with(f, "12.50", `"-0.0e+0"`), with(f, "+02:00", "Z"), with(f, `"2.10"`, "2.1e1"),
		with(f, "2001:DB8::1", "unknown"),
	} {
		f.Add([]byte(seed))
	}
	dec, second, tok := dataset.NewDecoder(d), dataset.NewDecoder(d), tokeniser(f, d)
	f.Fuzz(func(t *testing.T, body []byte) { checkEvent(t, d, dec, second, tok, body) })
}

func checkEvent(t interface {
	Helper()
	Fatalf(string, ...any)
}, d *dataset.Dataset, dec, second *dataset.Decoder, tok *dataset.Tokeniser, body []byte) {
	t.Helper()
	before := bytes.Clone(body)
	e, rejection := dec.Decode(body)
	if _, again := second.Decode(body); again != rejection || !bytes.Equal(before, body) {
		t.Fatalf("%+v, then %+v", rejection, again)
	}
	if !utf8.Valid(e.Subject) || bytes.IndexByte(e.Subject, 0) >= 0 {
		t.Fatalf("subject %q", e.Subject)
	}
	if rejection.Reason != "" {
		return
	}
	for i, m := range d.Members {
		v := &e.Values[i]
		if m.Required && (v.Null || len(v.Text) == 0) || !utf8.Valid(v.Text) || m.Type != dataset.JSON && bytes.IndexByte(v.Text, 0) >= 0 {
			t.Fatalf("%s: %q was accepted", m.Name, v.Text)
		}
		if m.Max > 0 && utf8.RuneCount(v.Text) > m.Max && !v.Nothing {
			t.Fatalf("%s: %q is longer than %d", m.Name, v.Text, m.Max)
		}
	}
	for i, ix := range d.Indexes() {
		v := &e.Values[slicesIndex(d, ix.Member.Name)]
		if v.Null {
			continue
		}
		token, reason, err := tok.AppendToken(nil, i, v.Text)
		switch {
		case err != nil || reason != "" && reason != dataset.MissingField:
			t.Fatalf("%s of %s of %q: %s, %v", ix.Kind, ix.Member.Name, v.Text, reason, err)
		case reason == "" && string(token) != dataset.NoToken && !blindindex.ValidToken(string(token)):
			t.Fatalf("%s of %s: token %q", ix.Kind, ix.Member.Name, token)
		}
	}
}

// BenchmarkDecode reads one login, and one order of 17 members.
func BenchmarkDecode(b *testing.B) {
	const login = `{"user_id":"u1","app_version":"2.3.0","device_type":"android","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928"}`
	for _, c := range []struct {
		d    *dataset.Dataset
		body string
	}{{dataset.Login(), login}, {order(b), full}} {
		b.Run(c.d.Name, func(b *testing.B) {
			dec, body := dataset.NewDecoder(c.d), []byte(c.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, rejection := dec.Decode(body); rejection.Reason != "" {
					b.Fatal(rejection)
				}
			}
		})
	}
}

func ExampleDecoder() {
	d := dataset.Login()
	dec := dataset.NewDecoder(d)
	for _, body := range []string{`{"user_id":"u","ip":"203.0.113.9","device_id":"d","app_version":"2.3.0-beta"}`, `{"user_id":"u","ip":"10.0.0"}`} {
		e, rejection := dec.Decode([]byte(body))
		fmt.Printf("%s %q %q\n", e.Subject, rejection.Reason, rejection.Member)
		for _, drop := range e.Dropped {
			fmt.Println("NULL:", d.Members[drop.Member].Name, drop.Reason)
		}
	}
	// Output:
	// u "" ""
	// NULL: app_version bad_version
	// u "bad_ip" "ip"
}
