package recovercmd

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	recovery "cloakroom/recover"
)

// A device id is whatever its sender likes. In CSV no cell may be a formula, unless --raw-csv says
// so. JSON and raw CSV give back every value exactly.
func TestValuesThatASpreadsheetWouldRun(t *testing.T) {
	values := []string{
		`=HYPERLINK("http://evil.example","click")`, "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1",
		"\u009b31m", "\u202egnirts", "plain", "'=1", " =1", "a=1",
	}
	c := newFixture(t)
	for _, v := range values {
		quoted, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		ingest(t, c.Env, event(fmt.Sprintf(`{"user_id":"user-9","ip":"192.0.2.1","device_id":%s}`, quoted)))
	}
	opened, err := c.alice.Open(t.Context(), c.approved(t, params(func(a *recovery.RequestParams) {
		a.Subject, a.Fields = "user-9", []string{"device_id"}
	})), recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()

	stored := map[string]bool{} // what was sealed
	if err := opened.Each(func(r recovery.Record) error { stored[string(r[len(r)-1])] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(stored) != len(values) {
		t.Fatalf("%d values were stored, want %d", len(stored), len(values))
	}
	for name, e := range map[string]encoding{"guarded": {format: "csv"}, "raw": {format: "csv", rawCSV: true}} {
		formulas, exact := 0, map[string]bool{}
		for _, cell := range deviceCells(t, e, opened) {
			if strings.ContainsAny(cell[:1], "=+-@\t\r\n") || strings.HasPrefix(cell, "＝") {
				formulas++
			}
			exact[cell] = true
		}
		// encoding/csv reads "\r\n" within a field as "\n", and no value has it.
		switch {
		case name == "guarded" && formulas != 0:
			t.Errorf("%d guarded cells are formulas", formulas)
		case name == "raw" && formulas == 0:
			t.Error("no raw cell is a formula: --raw-csv does nothing")
		case name == "raw":
			for v := range stored {
				if !exact[v] {
					t.Errorf("raw CSV lost %q", v)
				}
			}
		}
	}
	var out bytes.Buffer
	if err := (encoding{format: "json"}).write(&out, opened); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\u009b\u202e") {
		t.Error("JSON holds characters that a terminal obeys")
	}
	var rows []map[string]any
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if v, _ := r["device_id"].(string); !stored[v] {
			t.Errorf("JSON gives %q, which was not stored", v)
		}
	}
}

// deviceCells writes CSV, reads it back and returns the last column.
func deviceCells(t *testing.T, e encoding, opened *recovery.OpenedRows) []string {
	t.Helper()
	var out bytes.Buffer
	if err := e.write(&out, opened); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var cells []string
	for _, r := range rows[1:] {
		cells = append(cells, r[len(r)-1])
	}
	return cells
}
