package dataset_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"cloakroom/dataset"
)

// What is accepted can be stored: the canonical form of a clear member is one that Postgres reads as the column's
// type, at the limits, too; and Postgres means the same value by it.
func TestAcceptedCanBeStored(t *testing.T) {
	t.Parallel()
	d := parse(t, `
dataset: limits
table: limits
members:
  - {name: i, type: integer}
  - {name: n, type: decimal, precision: 1000, scale: 500}
  - {name: small, type: decimal, precision: 2, scale: 2}
  - {name: b, type: boolean}
  - {name: d, type: date}
  - {name: at, type: timestamp}
  - {name: u, type: uuid}
  - {name: a, type: ip}
  - {name: j, type: json, max: 1000000}
  - {name: v, type: version, max: 32}
  - {name: t, type: text, max: 10}
`)
	db := created(t, time.Now(), d)
	dec := dataset.NewDecoder(d)
	for _, c := range [][3]string{ // member, JSON, and what Postgres prints; empty: not compared
		{"i", "-9223372036854775808", "-9223372036854775808"}, {"i", "9223372036854775807", "9223372036854775807"},
		{"i", "-0", "0"},
		{"n", "1e499", "1" + strings.Repeat("0", 499) + "." + strings.Repeat("0", 500)},
		{"n", "1e-500", "0." + strings.Repeat("0", 499) + "1"},
		{"n", "-0.000e5", "0." + strings.Repeat("0", 500)}, {"n", `"12.30e1"`, "123." + strings.Repeat("0", 500)},
		{"small", "0.99", "0.99"}, {"small", "5e-2", "0.05"},
		{"b", "true", "true"}, {"b", "false", "false"},
		{"d", `"0001-01-01"`, "0001-01-01"}, {"d", `"9999-12-31"`, "9999-12-31"}, {"d", `"2000-02-29"`, "2000-02-29"},
		{"at", `"0001-01-01T00:00:00Z"`, "0001-01-01 00:00:00+00"}, {"at", `"9999-12-31T23:59:59.999999999Z"`,
			"9999-12-31 23:59:59.999999+00"},
		{"at", `"2026-03-14 23:30:00.5-01:00"`, "2026-03-15 00:30:00.5+00"}, {"at", `"2026-03-14t00:00:00z"`,
			"2026-03-14 00:00:00+00"},
		{"u", `"6F1C8E0A3B524D179A405C2E7D9B1F08"`, "6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08"},
		{"a", `"::ffff:1.2.3.4"`, "1.2.3.4/32"}, {"a", `"2001:DB8:0:0::1"`, "2001:db8::1/128"}, {"a", `"::1.2.3.4"`,
			""},
		{"j", strings.Repeat("[", 100) + strings.Repeat("]", 100), ""}, {"j", "[1e1000,-1E-1000,0.1e+10]", ""}, {"j",
			`"\\u0000 \ud83d\ude00"`, ""},
		{"j", `{"":{"a":"\\"}}`, ""}, {"j", strings.Repeat("1", 1000), ""},
		{"v", `"2146.999.999"`, "2146999999"}, {"t", `"\\.\t\n\u2028"`, ""},
	} {
		at := slicesIndex(d, c[0])
		e, rejection := dec.Decode([]byte(`{"` + c[0] + `":` + c[1] + `}`))
		v := e.Values[at]
		if rejection.Reason != "" || len(e.Dropped) > 0 || v.Null {
			t.Errorf("%s %.60s: %+v, dropped %+v", c[0], c[1], rejection, e.Dropped)
			continue
		}
		stored := string(v.Canonical)
		if v.HasVersion {
			stored = c[2]
		}
		column := d.TableColumns(nil)[columnOf(d, at)]
		var got string
		err := db.Get(&got, `SET TimeZone = 'UTC'; SELECT (`+pq.QuoteLiteral(stored)+`::`+column.Type+`)::text`)
		if err != nil || c[2] != "" && got != c[2] {
			t.Errorf("%s %.60s: %.60q is %.60q for Postgres (%v), want %.60q", c[0], c[1], stored, got, err, c[2])
		}
	}
	for _, c := range [][2]string{
		{"i", "9223372036854775808"}, {"n", "1e500"}, {"n", "1e-501"}, {"small", "1"}, {"small", "0.001"}, {"d",
			`"0000-01-01"`}, {"d", `"1900-02-29"`},
		{"d", `"10000-01-01"`}, {"at", `"0001-01-01T00:00:00+00:01"`}, {"at", `"9999-12-31T23:59:59-00:01"`}, {"at",
			`"2026-01-01T24:00:00Z"`},
		{"at", `"2026-01-01T23:59:60Z"`}, {"at", `"2026-01-01T00:00:00"`}, {"at", `"2026-01-01T00:00:00.Z"`}, {"at",
			`"2026-01-01T00:00:00+0100"`},
		{"u", `"{6f1c8e0a-3b52-4d17-9a40-5c2e7d9b1f08}"`}, {"u", `"6f1c8e0a3b52-4d17-9a40-5c2e7d9b1f08"`}, {"a",
			`"1.2.3.4/32"`}, {"a", `"01.2.3.4"`},
		{"j", strings.Repeat("1", 1001)}, {"j", "[1e1001]"}, {"b", `1`},
	} {
		if e, _ := dec.Decode([]byte(`{"` + c[0] + `":` + c[1] + `}`)); len(e.Dropped) != 1 || !e.Values[slicesIndex(d, c[0])].Null {
			t.Errorf("%s %.60s: accepted as %q", c[0], c[1], e.Values[slicesIndex(d, c[0])].Canonical)
		}
	}
}

// columnOf is the position of a member's column among those of the table.
func columnOf(d *dataset.Dataset, member int) int {
	for i, c := range d.TableColumns(nil) {
		if c.Member == member && c.Role == dataset.RoleClear {
			return i
		}
	}
	return -1
}
