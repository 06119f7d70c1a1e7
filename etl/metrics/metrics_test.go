package metrics_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/metrics"
	"cloakroom/keys/kek"
)

// promised are the metrics that alerts, dashboards and docs/operations.md rely on.
var promised = []string{
	"cloakroom_messages_received_total", "cloakroom_events_committed_total", "cloakroom_events_duplicate_total",
	"cloakroom_events_rejected_total", "cloakroom_sqs_requests_total", "cloakroom_sqs_request_duration_seconds",
	"cloakroom_visibility_extensions_total", "cloakroom_messages_in_flight", "cloakroom_end_to_end_lag_seconds",
	"cloakroom_batch_rows", "cloakroom_batch_commit_duration_seconds", "cloakroom_kms_requests_total",
	"cloakroom_data_key_age_seconds", "cloakroom_data_key_seals", "cloakroom_members_dropped_total",
	"cloakroom_messages_ignored_total",
}

func scrape(m *metrics.Metrics) string {
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}

func newMetrics() *metrics.Metrics {
	m := metrics.New()
	m.Datasets([]string{"one", "two"})
	m.Queue("q").Held(func() int { return 7 })
	m.Queue("other").Held(func() int { return 8 })
	m.DataKeys(func() (time.Duration, uint64) { return 90 * time.Second, 12 })
	return m
}

// series are the names in a scrape, with those of a histogram's parts.
func series(text string) map[string]bool {
	names := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		if name := strings.FieldsFunc(line, func(r rune) bool { return r == '{' || r == ' ' }); len(name) > 0 && !strings.HasPrefix(line, "#") {
			names[name[0]] = true
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names[strings.Fields(rest)[0]] = true
		}
	}
	return names
}

func TestNames(t *testing.T) {
	m := newMetrics()
	m.Queue("q").SQSRequest("ReceiveMessage", nil, time.Second)
	m.BatchCommitted("q", nil, time.Second, etl.Counts{Datasets: map[string]etl.Counts{
		"one": {Dropped: map[etl.Dropped]int64{{Member: "m", Reason: etl.TooLong}: 1}},
	}})
	names := series(scrape(m))
	for _, name := range promised {
		if !names[name] {
			t.Errorf("a scrape has no %s", name)
		}
	}
	for name := range names {
		base := name
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, part)
		}
		if strings.HasPrefix(name, "cloakroom_") && !slices.Contains(promised, base) && !slices.Contains(promised, name) {
			t.Errorf("a scrape has %s, which is not among those promised", name)
		}
	}
}

func TestCounts(t *testing.T) {
	m := newMetrics()
	m.Received("q", 10)
	m.BatchCommitted("q", []*etl.Message{{Sent: time.Now().Add(-time.Minute)}, {DayOnly: true}}, time.Second,
		etl.Counts{Stored: 8, Duplicates: 3, Ignored: 1, Datasets: map[string]etl.Counts{
			"one": {Stored: 6, Duplicates: 3, Rejections: map[etl.Reason]int64{etl.BadIP: 1}},
			"two": {Stored: 2, Dropped: map[etl.Dropped]int64{{Member: "m", Reason: etl.TooLong}: 4}},
		}})
	m.Queue("q").SQSRequest("DeleteMessageBatch", errors.New("no"), time.Second)
	m.Queue("q").Extended(4, 2)
	m.KEKRequest("GenerateDataKey", fmt.Errorf("no: %w", kek.ErrDenied))
	text := scrape(m)
	for _, line := range []string{
		`cloakroom_messages_received_total{queue="q"} 10`, `cloakroom_messages_received_total{queue="other"} 0`,
		`cloakroom_messages_ignored_total{queue="q"} 1`, `cloakroom_events_committed_total{dataset="one"} 6`,
		`cloakroom_events_committed_total{dataset="two"} 2`, `cloakroom_events_duplicate_total{dataset="one"} 3`,
		`cloakroom_events_rejected_total{dataset="one",reason="bad_ip"} 1`,
		`cloakroom_events_rejected_total{dataset="two",reason="not_json"} 0`,
		`cloakroom_members_dropped_total{dataset="two",member="m",reason="too_long"} 4`,
		`cloakroom_sqs_requests_total{op="DeleteMessageBatch",outcome="failed",queue="q"} 1`,
		`cloakroom_visibility_extensions_total{outcome="ok",queue="q"} 4`, `cloakroom_visibility_extensions_total{outcome="failed",queue="q"} 2`,
		`cloakroom_kms_requests_total{op="GenerateDataKey",outcome="denied"} 1`,
		`cloakroom_messages_in_flight{queue="q"} 7`, `cloakroom_messages_in_flight{queue="other"} 8`, "cloakroom_data_key_age_seconds 90", "cloakroom_data_key_seals 12",
		`cloakroom_end_to_end_lag_seconds_bucket{le="30"} 0`, `cloakroom_end_to_end_lag_seconds_bucket{le="300"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the scrape lacks %s", line)
		}
	}
}
