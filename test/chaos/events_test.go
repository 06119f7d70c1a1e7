package chaos

import (
	"fmt"
	"regexp"
	"time"
)

// event is what a message carries, and what should become of it.
type event struct {
	dataset string
	row     bool   // else a rejection
	order   string // of an order: two messages about one are one row
	body    string
}

// began is before every event: two messages about one order agree on its time.
var began = time.Now().UTC()

// newEvent makes event n. Every other is an order, every twentieth lacks what it must have, and every fortieth is about
// an order that another message was about.
func newEvent(n int) event {
	switch {
	case n%40 == 27:
		return event{dataset: "order", body: `{"kind":"order","foo":"oops_wrong_msg_type"}`}
	case n%20 == 7:
		return event{dataset: "login", body: `{"kind":"login","foo":"oops_wrong_msg_type"}`}
	case n%40 == 39:
		n -= 2
		fallthrough
	case n%2 == 1:
		order := fmt.Sprintf("o-%d", n)
		// Of yesterday and of today: two partitions.
		placed := began.Add(-time.Duration(n/2%2)*24*time.Hour - time.Duration(n)*time.Millisecond)
		return event{dataset: "order", row: true, order: order, body: fmt.Sprintf(
			`{"kind":"order","order_id":%q,"customer":{"id":"00000000-0000-4000-8000-%012d","email":"canary-%d@shop.example"},`+
				`"placed_at":%q,"items":1,"amount":12.50,"payment":{"card.number":"4111 1111 1111 %04d"},`+
				`"client":"198.51.100.%d","address":{"street":"canary street %d"},"born_on":"1990-01-31"}`,
			order, n%1000, n, placed.Format(time.RFC3339Nano), n%10000, 1+n%250, n)}
	}
	return event{dataset: "login", row: true, body: fmt.Sprintf(
		`{"kind":"login","user_id":"user-%d","app_version":"2.%d","device_type":"ios","ip":"203.0.%d.%d","locale":"RU",`+
			`"device_id":"device-%d"}`, n, n%100, n/250%250, n%250, n%500)}
}

// canaries are in what is sent and protected, and in nothing that may be shown: a network and the last four digits of a
// card may.
var canaries = regexp.MustCompile(`203\.0\.|device-\d|canary|4111 1111|411111111111|198\.51\.100\.[1-9]|1990-01-31`)
