package etl

import (
	"testing"

	"github.com/google/uuid"
)

// These ids are stored: should one change, every event that is sent or read again would be stored
// again. They were computed with another implementation of RFC 9562.
func TestMessageIDsNeverChange(t *testing.T) {
	for id, want := range map[string]string{
		"11111111-2222-4333-8444-555555555555": "11111111-2222-4333-8444-555555555555",
		"AAAAAAAA-2222-4333-8444-555555555555": "aaaaaaaa-2222-4333-8444-555555555555",
		"no uuid":                              "3a8f8b0c-57fd-520e-9fa2-8d87ac8ed5b9",
		"":                                     "11776f2c-9858-5ff0-817f-69d16a58b1e0",
		// Spellings that a UUID library may take and a queue does not send: ids of their own.
		"{11111111-2222-4333-8444-555555555555}":        "",
		"urn:uuid:11111111-2222-4333-8444-555555555555": "",
		"11111111222243338444555555555555":              "",
	} {
		got := MessageID(id)
		if want == "" {
			if got.Version() != 5 || got == uuid.MustParse(id) {
				t.Errorf("MessageID(%q) = %s", id, got)
			}
			continue
		}
		if got.String() != want {
			t.Errorf("MessageID(%q) = %s, want %s", id, got, want)
		}
	}
	for position, want := range map[int64]string{0: "0c454720-238f-5f21-80c8-eebf66d9bcf7", 1: "1b491433-170b-540d-812b-d12b6c01446a", 1_000_000: "0e689ef0-8707-5346-9416-a255f9bf474d"} {
		if got := FileEventID("logins-2026-07", position); got.String() != want {
			t.Errorf("event %d: %s, want %s", position, got, want)
		}
	}
}
