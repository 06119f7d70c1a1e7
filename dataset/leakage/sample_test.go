package leakage_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/dataset/leakage"
)

const visits = `
dataset: visit
table: visits
subject: person
time: at
members:
  - {name: person, type: text, max: 32, required: true}
  - {name: at, type: timestamp, required: true}
  - {name: city, type: text, max: 32}
  - {name: page, type: text, max: 64}
  - {name: flat, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}
  - {name: skewed, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}
  - {name: local, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}
  - {name: email, type: text, max: 64, protect: {normalise: [casefold], pad: 64, index: [domain, exact], reveal: domain,
     nothing: [none]}}
  - {name: client, type: ip, protect: {index: [prefix/24]}}
`

// visitEvents are n events: flat values, values of which the half are one, values that depend on the city, addresses.
func visitEvents(n int) func(take func([]byte)) error {
	random := rand.New(rand.NewPCG(9, 10))
	var b bytes.Buffer
	for i := range n {
		skewed := "most"
		if random.IntN(2) == 0 {
			skewed = fmt.Sprint("value ", random.IntN(5000))
		}
		city := random.IntN(20)
		email := fmt.Sprintf("person%d@example%d.org", random.IntN(3000), random.IntN(40)*random.IntN(40))
		if i%10 == 0 {
			email = "none"
		}
		fmt.Fprintf(&b, `{"person":"p%d","at":"2026-10-%02dT10:00:00Z","city":"city %d","page":"page %d","flat":"flat %d",`+
			`"skewed":%q,"local":"local %d","email":%q,"client":"10.%d.%d.7"}`+"\n",
			random.IntN(4000), 1+random.IntN(28), city, random.IntN(500), random.IntN(9000), skewed,
			city*5+random.IntN(5), email, random.IntN(50), random.IntN(50))
	}
	b.WriteString("{\"person\":1}\n")
	return lines(b.String())
}

func lines(text string) func(take func([]byte)) error {
	return func(take func([]byte)) error {
		for line := range strings.Lines(text) {
			take([]byte(line))
		}
		return nil
	}
}

func TestSample(t *testing.T) {
	d, problems := dataset.Lint([]byte(visits))
	if d == nil {
		t.Fatal(problems)
	}
	r, rejected, err := leakage.Sample(d, visitEvents(40_000), 1e6)
	if err != nil {
		t.Fatal(err)
	}
	if rejected != 1 {
		t.Errorf("%d rejections, want 1", rejected)
	}
	// Of 500 pages and of many domains there are too many.
	if got := fmt.Sprint(r.Clear, r.Left); got != "[city] [page email__domain]" {
		t.Errorf("clear columns %s", got)
	}
	by := map[string]leakage.Index{}
	for _, ix := range r.Indexes {
		by[ix.Column] = ix
		if ix.Rows < 15_000 || ix.Rows > 21_000 {
			t.Errorf("%s: %d rows, want half of the sample", ix.Column, ix.Rows)
		}
	}
	flat, skewed, local := by["masked_flat"], by["masked_skewed"], by["masked_local"]
	if flat.Verdict != leakage.OK || flat.GivesAway > 0.01 || flat.WithClear > 0.01 {
		t.Error(marshal(t, flat))
	}
	if skewed.Verdict != leakage.TooMuch || skewed.GivesAway < 0.45 || skewed.GivesAway > 0.6 || skewed.MinEntropy > 1.1 {
		t.Error(marshal(t, skewed))
	}
	// 100 values, alike alone; but each occurs in one city.
	if local.Verdict != leakage.Beside || local.Lift < 3 {
		t.Error(marshal(t, local))
	}
	if u := flat.Unicity; u.Users != leakage.Users || u.By4 < u.By2 || u.By2 < u.Users/2 {
		t.Errorf("unicity: %+v", u)
	}
	email := by["masked_email"]
	if email.Nothing < 3900 || email.Nothing > 4100 {
		t.Errorf("%d rows mean none, want 4000", email.Nothing)
	}
	if len(r.Members) != 1 || r.Members[0].Member != "email" || r.Members[0].GivesAway < email.GivesAway {
		t.Errorf("together: %+v", r.Members)
	}
	net := by["masked_client__prefix24"]
	if net.Domain != "all IPv4 networks /24" || net.Seconds < 16 || net.Seconds > 17 {
		t.Error(marshal(t, net))
	}
	again, _, err := leakage.Sample(d, visitEvents(40_000), 1e6)
	if err != nil {
		t.Fatal(err)
	}
	if one, other := marshal(t, r), marshal(t, again); one != other {
		t.Errorf("the same sample gives another report:\n%s\n%s", one, other)
	}

	var svg strings.Builder
	if err := r.SVG(&svg); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal([]byte(svg.String()), new(struct{})); err != nil {
		t.Errorf("the picture is no XML: %v", err)
	}
	if n := strings.Count(svg.String(), `class="month" d="M`); n != len(r.Indexes)+1 {
		t.Errorf("%d curves, want one an index and one in the legend", n)
	}
	for _, outside := range []string{"http://", "https://", "url(", "<script", "<image"} {
		if strings.Contains(strings.Replace(svg.String(), "http://www.w3.org/2000/svg", "", 1), outside) {
			t.Errorf("the picture has %s", outside)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSampleOfNothing(t *testing.T) {
	_, _, err := leakage.Sample(dataset.Login(), lines("{}\n"), 1)
	if err == nil || !strings.Contains(err.Error(), "none of its 1 events") {
		t.Errorf("%v", err)
	}
}

// What is to be tried, by hand.
func TestDomains(t *testing.T) {
	d, problems := dataset.Lint([]byte(`
dataset: one
table: ones
members:
  - {name: a, type: ip, protect: {index: [exact, prefix/20]}}
  - {name: b, type: text, max: 10, protect: {normalise: [digits], pad: 16, index: [exact, last/4]}}
  - {name: c, type: text, max: 8, enum: [red, green, blue], protect: {normalise: [trim], pad: 16}}
  - {name: d, type: uuid, protect: {pad: 48}}
  - {name: e, type: integer, min: 1, max: 600, protect: {pad: 16}}
  - {name: f, type: date, min: 2020-01-01, max: 2020-12-31, protect: {pad: 16}}
  - {name: g, type: boolean, protect: {pad: 16}}
  - {name: h, type: text, max: 99, protect: {normalise: [casefold], pad: 128, index: [exact, domain]}}
`))
	if d == nil {
		t.Fatal(problems)
	}
	const never = -1
	want := []float64{1 << 32, 1 << 20, 1e10, 1e4, 3, never, 600, 366, 2, 1.5e10, 4e8}
	for i, ix := range d.Indexes() {
		got := leakage.DomainOf(ix)
		if got.Never(1e6) != (want[i] == never) || want[i] != never && got.Size != want[i] {
			t.Errorf("%s %s: %+v, want %v", ix.Member.Name, ix.Kind, got, want[i])
		}
	}
}
