package trial_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/dataset/trial"
)

const visits = `
dataset: visit
table: visits
members:
  - name: ip
    type: ip
    protect: {index: [exact, prefix/24], reveal: network}
  - {name: device, type: text, max: 40, required: true, protect: {normalise: [digits]}}
  - {name: app, type: version, max: 20}
`

// What meets has one label, in each index of its own; a second trial has other keys, and the same labels.
func TestLabels(t *testing.T) {
	t.Parallel()
	d, err := dataset.Parse([]byte(visits))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		run, err := trial.New(d)
		if err != nil {
			t.Fatal(err)
		}
		counter := run.NewCounter()
		var got []string
		for i, body := range []string{
			`{"ip":"203.0.113.9","device":"12-34"}`, `{"ip":"::ffff:203.0.113.9","device":"1234","app":"2.3"}`,
			`{"ip":"203.0.113.10","device":"9","app":"2.3-beta"}`, `{"ip":"no","device":"9"}`, `{"ip":"2001:db8::1","device":"x"}`,
		} {
			o, err := run.Try(int64(i+1), []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			counter.Add(o)
			shown, _ := json.Marshal(o)
			if strings.Contains(string(shown), "12-34") || strings.Contains(string(shown), `"203.0.113.9"`) {
				t.Errorf("a sealed value is shown: %s", shown)
			}
			line := string(o.Reason) + o.Member
			for _, c := range o.Row {
				line += " " + c.Kind + ":" + c.Value
			}
			got = append(got, line+fmt.Sprint(o.Dropped))
		}
		want := []string{
			" sealed: reveal:203.0.113.0/24 token:t1 token:t1 sealed: token:t1 null: null:[]",
			" sealed: reveal:203.0.113.0/24 token:t1 token:t1 sealed: token:t1 clear:2003000 clear:2.3[]",
			" sealed: reveal:203.0.113.0/24 token:t2 token:t1 sealed: token:t2 null: clear:2.3-beta[{app bad_version}]",
			" null: sealed: token:t2 null: null:[{ip bad_ip}]",
			"missing_fielddevice[]", // normalising leaves nothing of a required member
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if s := counter.Summary(); s.Stored != 4 || s.Rejected != 1 || len(s.Dropped) != 2 ||
			fmt.Sprint(s.Indexes) != "[{masked_ip 3 2 0} {masked_ip__prefix24 3 1 0} {masked_device 4 2 0}]" {
			t.Errorf("%+v", s)
		}
	}
}
