package main

// This file makes and reads sample events: the one place outside dataset that names a login's fields.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// event is one message body to send.
type event struct {
	body   string
	broken bool // made to be rejected
	twice  bool // to be delivered twice
}

// broken are the ways in which an event of a queue can be broken, one body each.
func broken() []string {
	login := func(user, ip, device, more string) string {
		return fmt.Sprintf(`{"user_id":%s,"ip":%s,"device_id":%s%s}`, user, ip, device, more)
	}
	const user, ip, device = `"demo-broken"`, `"203.0.113.9"`, `"canary-broken-device"`
	return []string{
		`{"foo":"oops_wrong_msg_type","bar":"123"}`,                                              // missing_field
		login(user, "null", device, ""),                                                          // null_field
		login(user, `"999.1.1.1"`, device, ""),                                                   // bad_ip
		login(user, `"010.0.0.1"`, device, ""),                                                   // bad_ip, too
		login(user, ip, device, `,"app_version":"two.one"`),                                      // bad_version
		login(user, ip, "12345", ""),                                                             // wrong_type
		login(user, ip, device, `,"locale":"`+strings.Repeat("x", 33)+`"`),                       // too_long
		login(user, ip, `"canary\u0000device"`, ""),                                              // nul
		login(user, ip, `"canary\ud800device"`, ""),                                              // invalid_utf8
		login(user, ip, device, `,"ip":"203.0.113.10"`),                                          // duplicate_member
		`["user_id","demo-broken"]`,                                                              // not_object
		login(user, ip, device, "")[:40],                                                         // not_json
		login(user, ip, device, `,"x":`+strings.Repeat("[", 10_001)+strings.Repeat("]", 10_001)), // too_deep
	}
}

// Share of events that are broken, and that are delivered twice: 12 of 500.
const oneIn = 41

// generate makes n events, the same each time: logins of which some share a device, one of each way to be broken, and
// some that will be delivered twice. Every protected value is a canary that the demo looks for afterwards.
func generate(n int) []event {
	r := rand.New(rand.NewPCG(20261123, 41))
	ways := broken()
	bad := min(n/oneIn, len(ways)-1)
	events := make([]event, 0, n)
	for i := range n - bad {
		events = append(events, event{body: generateLogin(r, i), twice: i < n/oneIn})
	}
	for i := range bad {
		events = append(events, event{body: ways[i], broken: true})
	}
	return events
}

// generateLogin makes login i. Every tenth shares the device of an earlier one, every fifteenth the address.
func generateLogin(r *rand.Rand, i int) string {
	device, address := i, i
	if i%10 == 9 {
		device = i - 9
	}
	if i%15 == 14 {
		address = i - 14
	}
	pick := func(choices ...any) any { return choices[r.IntN(len(choices))] }
	text, err := json.Marshal(map[string]any{
		"user_id":     fmt.Sprintf("user-%04d", r.IntN(10_000)),
		"app_version": pick("2.3.0", "2.10", "0.96", "11.0.4", "5", nil),
		"device_type": pick("ios", "android", "tablet", "desktop", nil),
		"ip":          sampleAddress(address),
		"device_id":   fmt.Sprintf("canary-device-%06d-%08x", device, uint32(device)*2654435761),
		"locale":      pick("RU", "en_UK", "PT", "ID", nil),
	})
	if err != nil {
		panic(err) // a map of strings
	}
	return string(text)
}

// sampleAddress is an address of a range kept for documentation and tests (RFC 2544, RFC 3849).
func sampleAddress(i int) string {
	if i%20 == 19 {
		return fmt.Sprintf("2001:db8:c10a::%x", i+0x1000)
	}
	return fmt.Sprintf("198.%d.%d.%d", 18+i>>16&1, i>>8&255, i&255)
}

// readEvents reads the bodies of a file: the elements of a JSON array as they stand, or lines.
func readEvents(path string) ([]event, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	var events []event
	if len(text) == 0 || text[0] != '[' {
		for line := range bytes.Lines(text) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				events = append(events, event{body: string(line)})
			}
		}
		return events, nil
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for d.PeekKind() != jsontext.KindEndArray {
		element, err := d.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("reading element %d of %s: it is not JSON", len(events)+1, path)
		}
		events = append(events, event{body: string(element)})
	}
	return events, nil
}
