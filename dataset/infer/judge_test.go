package infer_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/dataset/infer"
)

// drafted gives a draft of events that each have one of the values under a path.
func drafted(t *testing.T, path string, n int, values ...any) *infer.Draft {
	t.Helper()
	s := infer.NewSample()
	for i := range n {
		var event any = values[i%len(values)]
		names := strings.Split(path, ".")
		for j := len(names) - 1; j >= 0; j-- {
			event = map[string]any{names[j]: event}
		}
		body, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		s.Add(int64(i+1), body)
	}
	d, err := s.Draft(infer.Options{Name: "thing"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWhatLooksPersonal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path   string
		values []any
		want   dataset.Personal
		typ    dataset.Type
	}{
		{"contact", []any{"ada@example.com", "Grace.H@example.org"}, dataset.Email, dataset.Text},
		{"emailAddress", []any{"ada@example.com", "none", "n/a"}, dataset.Email, dataset.Text},
		{"e_mail", []any{"a written hint", "by post only", "to the office", "c/o somebody", "see other list", "no idea",
			"1", "2", "3", "4", "5", "6", "7"}, dataset.FreeText, dataset.Text},
		{"src", []any{"203.0.113.9", "2001:db8::7", "::ffff:203.0.113.9"}, dataset.Address, dataset.IP},
		{"ip", []any{"203.0.113.9", "unknown"}, dataset.Address, dataset.IP},
		{"nr", []any{"+49 170 5550100", "+44 20 7946 0018", "(555) 555-0100"}, dataset.Phone, dataset.Text},
		{"telefono", []any{"170 5550100", "0170/555-0101"}, dataset.Phone, dataset.Text},
		{"mobile", []any{4917055501, 4917055502}, dataset.Phone, dataset.Integer},
		{"no", []any{"4000 0000 0000 0002", "5100000000000008"}, dataset.Card, dataset.Text},
		{"konto", []any{"DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"}, dataset.IBAN, dataset.Text},
		{"vorname", []any{"Ada", "Grace"}, dataset.Name, dataset.Text},
		{"who", []any{"Ada Muster", "Grace Beispiel", "Ludwig van Sample"}, dataset.Name, dataset.Text},
		{"customer.name", []any{"Muster GmbH", "beispiel"}, dataset.Name, dataset.Text},
		{"geburtsdatum", []any{"1990-01-31", "2000-12-24"}, dataset.Birth, dataset.Date},
		{"street", []any{"Hauptstraße 5", "Example Road 7"}, dataset.Postal, dataset.Text},
		{"billingAddress", []any{map[string]any{"street": "Hauptstraße 5", "city": "Berlin"}}, dataset.Postal, dataset.JSON},
		{"ua", []any{"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "curl/8.9.1"}, dataset.Agent, dataset.Text},
		{"client_sw", []any{"Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0", "okhttp/4.12.0"}, dataset.Agent, dataset.Text},
		{"deviceId", []any{"6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08", "6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f09"}, dataset.Device, dataset.UUID},
		{"nic", []any{"00:1a:2b:3c:4d:5e", "00-1A-2B-3C-4D-5F"}, dataset.Device, dataset.Text},
		{"geo.lat", []any{52.520008, 48.137154}, dataset.Place, dataset.Decimal},
		{"at", []any{"52.520008, 13.404954", "48.137154,11.576124"}, dataset.Place, dataset.Text},
		{"hdr", []any{"Bearer 6f1c8e0a3b524d17", "none"}, dataset.Secret, dataset.Text},
		{"x", []any{"plain", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"}, dataset.Secret, dataset.Text},
		{"y", []any{"AKIAIOSFODNN7EXAMPLE"}, dataset.Secret, dataset.Text},
		{"url", []any{"/reset?token=6f1c8e0a3b52", "/"}, dataset.Secret, dataset.Text},
		{"note", []any{"please call ada@example.com today", "ok"}, dataset.FreeText, dataset.Text},
		{"msg", []any{"refused for 203.0.113.9", "fine"}, dataset.FreeText, dataset.Text},
		{"paid_with", []any{"card 4000 0000 0000 0002 declined", "cash"}, dataset.FreeText, dataset.Text},
		{"gender", []any{"f", "m", "x"}, dataset.Special, dataset.Text},
		{"tags", []any{[]any{"a", "ada@example.com"}}, dataset.Email, dataset.JSON},
		{"people", []any{[]any{map[string]any{"phone": "+49 170 5550100"}}}, dataset.Phone, dataset.JSON},
		{"byMail", []any{map[string]any{"ada@example.com": 1, "x": 2}}, dataset.Email, dataset.JSON},
		// What only looks like it.
		{"app_version", []any{"1.2.3.4", "10.0.0.1"}, "", dataset.Text},
		{"version", []any{"2.3.0", "2.3", "2.3.0"}, "", dataset.Version},
		{"day", []any{"01.02.2026", "28.11.2026"}, "", dataset.Text},
		{"order_no", []any{"00012345", "00012346"}, "", dataset.Text},
		{"ratio", []any{"0.12345678", "0.87654321"}, "", dataset.Decimal},
		{"placed", []any{"2026-01-31T10:00:00Z", "2026-01-31T11:00:00+01:00"}, "", dataset.Timestamp},
		{"created", []any{1764300000, 1764300001}, "", dataset.Integer},
		{"email_verified", []any{true, false}, "", dataset.Boolean},
		{"cardType", []any{"visa", "amex"}, "", dataset.Text},
		{"amount", []any{12.5, 7, 100.25}, "", dataset.Decimal},
		{"mixed", []any{1, "a"}, "", dataset.JSON},
		{"serial", []any{"4000000000000001", "4000000000000003", "4000000000000004", "1234567890123456"}, "", dataset.Text},
	} {
		d := drafted(t, test.path, 30, test.values...)
		m := d.Members[0]
		if m.Personal != test.want || m.Type != test.typ || (m.Why != "") != (test.want != "") || m.Sealed != (test.want != "") {
			t.Errorf("%s: %q %s (%s), want %q %s", test.path, m.Personal, m.Type, m.Why, test.want, test.typ)
		}
		quotesNone(t, d, test.want != "", test.values)
	}
}

// quotesNone: a draft quotes no part of a value that looks personal.
func quotesNone(t *testing.T, d *infer.Draft, personal bool, values []any) {
	t.Helper()
	for _, v := range values {
		for _, part := range strings.FieldsFunc(fmt.Sprint(v), func(r rune) bool { return strings.ContainsRune("[]{} :", r) }) {
			if personal && len(part) > 4 && part != "street" && part != "phone" && !strings.Contains("none unknown", part) &&
				strings.Contains(string(d.YAML), part) {
				t.Errorf("the draft quotes %q:\n%s", part, d.YAML)
			}
		}
	}
}

func TestOneOfThousandsIsFound(t *testing.T) {
	t.Parallel()
	s := infer.NewSample()
	for i := range 3000 {
		text := fmt.Sprintf(`{"id":"e-%d","ref":"r%d"}`, i, i)
		if i == 2500 {
			text = `{"id":"e-2500","ref":"ada@example.com"}`
		}
		s.Add(int64(i+1), []byte(text))
	}
	d, err := s.Draft(infer.Options{Name: "thing"})
	if err != nil {
		t.Fatal(err)
	}
	if m := d.Members[1]; m.Personal != dataset.FreeText || m.Why != "1 of 3000 values hold an e-mail address" {
		t.Errorf("%+v", m)
	}
}

// SNS puts the event as a text into its envelope: the draft says so, and seals what is personal in it.
func TestEnvelopesAreSeen(t *testing.T) {
	t.Parallel()
	d := drafted(t, "Message", 20, `{"email":"ada@example.com"}`, `{"email":"grace@example.org"}`)
	m := d.Members[0]
	if !m.Sealed || !strings.Contains(fmt.Sprint(m.Notes), "20 of 20 values hold JSON within a text") ||
		!strings.Contains(string(d.YAML), "unwrap") {
		t.Errorf("%+v", m)
	}
	if d := drafted(t, "note", 20, "{a} and {b}", "plain"); strings.Contains(string(d.YAML), "unwrap") {
		t.Errorf("no text of these is JSON:\n%s", d.YAML)
	}
}
