package recover

import (
	"testing"
	"time"

	"cloakroom/recover/auditlog"
)

// TestFirstOutcomeEndsAnOpening adds leaves of one request as they never come from an honest log:
// what explains a decrypt at KMS ends with the first outcome, not with a refusal before it or a
// second one after it.
func TestFirstOutcomeEndsAnOpening(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	request, purpose := "r", "fraud"
	leaf := func(kind string, after time.Duration, purpose *string) auditlog.Leaf {
		return auditlog.Leaf{
			Type: kind, Request: &request, TS: began.Add(after), Purpose: purpose, DataKeys: []int64{7},
		}
	}
	r := newReport(began, began.AddDate(0, 0, 1))
	const hour = time.Hour
	steps := []struct {
		leaf      auditlog.Leaf
		endsAfter time.Duration // 0: not ended
	}{
		{leaf("intent", 0, &purpose), 0},
		{leaf("refused", 1*hour, nil), 0},
		{leaf("opened", 2*hour, &purpose), 2 * hour},
		{leaf("failed", 5*hour, &purpose), 2 * hour},
		{leaf("opened", 6*hour, &purpose), 2 * hour},
	}
	for _, s := range steps {
		r.add(s.leaf)
		want := time.Time{}
		if s.endsAfter > 0 {
			want = began.Add(s.endsAfter)
		}
		var got time.Time
		if ended := r.openings[request].Ended; ended != nil {
			got = *ended
		}
		if !got.Equal(want) {
			t.Errorf("after %s at %v the opening ended at %v, want %v", s.leaf.Type, s.leaf.TS, got, want)
		}
	}
	for at, want := range map[time.Duration]bool{hour: true, 2 * hour: true, 5 * hour: false} {
		if got := r.explains(7, began.Add(at)); got != want {
			t.Errorf("a decrypt %v after the intent is explained: %v, want %v", at, got, want)
		}
	}
	if r.explains(8, began.Add(hour)) {
		t.Error("a decrypt of another key is explained")
	}
}
