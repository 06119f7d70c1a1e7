package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"cloakroom/etl"
)

// report is what --json prints, and what has to add up.
type report struct {
	Sent       int                  `json:"sent"`      // distinct messages
	Delivered  int64                `json:"delivered"` // by the queue, redeliveries included
	Stored     int64                `json:"stored"`
	Duplicates int64                `json:"duplicates"` // delivered, and neither stored nor rejected
	Rejected   int64                `json:"rejected"`
	Rejections map[etl.Reason]int64 `json:"rejections"`
	Distinct   map[string]int       `json:"distinct"`   // tokens, by the view's column
	Opened     int                  `json:"opened"`     // rows of which every value opened to what was sent
	Mismatched int                  `json:"mismatched"` // rows of which one did not
	Recovered  struct {
		Before []string `json:"before"` // by the auditor, before the rotation and after it
		After  []string `json:"after"`
	} `json:"recovered"`
	DataKeysBefore []uint32           `json:"data_keys_before"` // that rows refer to
	DataKeysAfter  []uint32           `json:"data_keys_after"`
	Canaries       int                `json:"canaries"` // protected values found in clear, in a dump or a log
	Refused        map[string]bool    `json:"refused"`  // what has to be refused, and was
	Seconds        map[string]float64 `json:"seconds"`

	twice      int  // messages that were made to be delivered twice
	verified   bool // keys verify found nothing wrong
	tokensKept bool // the rotation changed no token
}

func newReport() *report {
	return &report{
		Rejections: map[etl.Reason]int64{},
		Distinct:   map[string]int{},
		Refused:    map[string]bool{},
		Seconds:    map[string]float64{},
	}
}

func (r *report) print(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// problems are the things that do not add up.
func (r *report) problems() []string {
	var problems []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	check(int64(r.Sent) == r.Stored+r.Rejected, "%d sent, but %d stored and %d rejected", r.Sent, r.Stored, r.Rejected)
	check(r.Delivered >= int64(r.Sent+r.twice), "%d sent and %d of them twice, but only %d delivered", r.Sent, r.twice,
		r.Delivered)
	check(int64(r.Opened) == r.Stored, "%d rows stored, but %d opened to what was sent", r.Stored, r.Opened)
	check(r.Mismatched == 0, "%d rows opened to something else", r.Mismatched)
	check(r.verified, "keys verify found something wrong")
	check(r.tokensKept, "the rotation changed tokens")
	check(len(r.Recovered.Before) > 0 || r.Stored == 0, "nothing was recovered")
	check(slices.Equal(r.Recovered.Before, r.Recovered.After), "another value was recovered after the rotation")
	for _, key := range r.DataKeysAfter {
		check(!slices.Contains(r.DataKeysBefore, key), "rows still refer to data key %d after the rotation", key)
	}
	check(r.Canaries == 0, "%d protected values stand in clear in a dump or a log", r.Canaries)
	for what, refused := range r.Refused {
		check(refused, "%s was not refused", what)
	}
	return problems
}
