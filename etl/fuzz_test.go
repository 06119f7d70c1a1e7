package etl

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"cloakroom/dataset"
)

// decodeSeeds reach every reason and the decoder's corners.
var decodeSeeds = []string{
	full, nested(3), "", "null", "[" + full + "]", full + full, full[:30], "\ufeff" + full, `{"ip":1,"ip":2}`, `{"user_id":"\ud800"}`, `{"user_id":"\u0000"}`,
	"{\"user_id\":\"\xff\"}", `{"\u0075ser_id":"u","ip":"::1","device_id":"d","app_version":2.10}`, `{"user_id":"u","ip":"::1","device_id":"d","app_version":1e400}`,
	`{"user_id":"","ip":null,"device_id":[]}`, `{"user_id":"u","ip":"::1","device_id":"d","x":{"a":[1,{"b":null}]}}`,
}

// Whatever comes in: no crash, the body stays as it is, a second decoding says the same, and what
// is accepted can be stored as text and sealed.
func FuzzDecode(f *testing.F) {
	if len(decodeSeeds) < 10 {
		f.Fatalf("%d seeds", len(decodeSeeds))
	}
	for _, seed := range decodeSeeds {
		f.Add([]byte(seed))
	}
	d, second := newDecoder(dataset.Login()), newDecoder(dataset.Login())
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		e, reason := d.decode(body)
		if !bytes.Equal(before, body) {
			t.Fatalf("the body was changed: %q to %q", before, body)
		}
		if _, again := second.decode(body); again != reason {
			t.Fatalf("%q, then %q", reason, again)
		}
		if subject := d.subjectOf(e); !utf8.Valid(subject) || bytes.IndexByte(subject, 0) >= 0 {
			t.Fatalf("subject %q", subject)
		}
		if reason != "" {
			return
		}
		for i, m := range dataset.Login().Members {
			v := e.values[i]
			if m.Required && len(v.text) == 0 || !utf8.Valid(v.text) || bytes.IndexByte(v.text, 0) >= 0 || utf8.RuneCount(v.text) > m.Max {
				t.Fatalf("%s: %q was accepted", m.Name, v.text)
			}
		}
	})
}
