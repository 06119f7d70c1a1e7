package source_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/etl/source"
	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/sqsserver"
	"cloakroom/keys/keystest"
)

// newQueue starts a fake of SQS with one queue, and points the AWS SDK at it.
func newQueue(t *testing.T, attributes map[string]string) (*sqsserver.Server, string) {
	t.Helper()
	server := sqsserver.New(sqsserver.Config{})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	url, err := server.CreateQueue("logins", attributes)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_SQS", server.URL())
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "ingest")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a secret of sixteen and more")
	return server, url
}

func event(n int) string {
	return fmt.Sprintf(`{"user_id":"user-%d","app_version":"2.%d","device_type":"ios","ip":"198.51.%d.%d","locale":"RU","device_id":"device-%d"}`,
		n, n%100, n/250%250, n%250, n)
}

func openSQS(t *testing.T, url string, o source.SQSOptions) *source.SQS {
	t.Helper()
	q, err := queue.Open(t.Context(), queue.Config{URL: url, Visibility: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return source.NewSQS(q, o)
}

func TestQueueOnce(t *testing.T) {
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	server, url := newQueue(t, nil)
	const events = 500
	for n := range events {
		body := event(n)
		if n%50 == 0 {
			body = `{"foo":"oops_wrong_msg_type"}`
		}
		if err := server.Put("logins", sqsserver.Message{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	server.DeliverTwice("logins", 12)

	queued := openSQS(t, url, source.SQSOptions{Once: true})
	s, err := etl.Run(t.Context(), w, queued, etl.Options{Receivers: 4})
	if err != nil {
		t.Fatal(err)
	}
	queued.Close(context.Background())
	s.Seconds = 0
	want := etl.Summary{Received: events + 12, Stored: 490, Duplicates: 12, Rejected: 10, Rejections: map[etl.Reason]int64{etl.MissingField: 10}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if left := server.Counts("logins"); left.Total() != 0 {
		t.Errorf("left in the queue: %+v", left)
	}
	if report := verifyAll(t, env); report.Opened != 490 || report.FailureCount != 0 {
		t.Errorf("verification: %+v", report)
	}
}

// A server that sends no SentTimestamp leaves the date of receipt, and an id that is no UUID
// becomes one.
func TestQueueWithoutTimestampsOrUUIDs(t *testing.T) {
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	server, url := newQueue(t, nil)
	bare := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		rw.Header().Set("Content-Type", "application/x-amz-json-1.0")
		rw.WriteHeader(answer.Code)
		_, _ = rw.Write(regexp.MustCompile(`,"Attributes":\{"SentTimestamp"[^}]*\}`).ReplaceAll(answer.Body.Bytes(), nil))
	}))
	t.Cleanup(bare.Close)
	t.Setenv("AWS_ENDPOINT_URL_SQS", bare.URL)
	for n := range 5 {
		if err := server.Put("logins", sqsserver.Message{ID: fmt.Sprintf("message %d", n), Body: event(n), SentAt: time.Now().AddDate(0, 0, -3)}); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	queued := openSQS(t, url, source.SQSOptions{Once: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s, err := etl.Run(t.Context(), w, queued, etl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	queued.Close(context.Background())
	var stored, today int
	db := env.Open(t, "")
	if err := db.QueryRow(`SELECT count(*), count(*) FILTER (WHERE create_date = (now() AT TIME ZONE 'UTC')::date) FROM cloakroom_data.user_logins`).Scan(&stored, &today); err != nil {
		t.Fatal(err)
	}
	if s.Stored != 5 || stored != 5 || today != 5 {
		t.Errorf("%+v; %d rows, %d of today", s, stored, today)
	}
	if n := strings.Count(log.String(), "sends no SentTimestamp"); n != 1 {
		t.Errorf("it was said %d times that the server sends no SentTimestamp", n)
	}
	var id string
	if err := db.Get(&id, `SELECT row_id FROM cloakroom_data.user_logins WHERE user_id = 'user-3'`); err != nil || id != etl.MessageID("message 3").String() {
		t.Errorf("message 3 is stored as %s: %v", id, err)
	}
}

// An outage of the queue is logged when it begins and when it ends.
func TestQueueOutageIsLogged(t *testing.T) {
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	server, url := newQueue(t, nil)
	if err := server.Put("logins", sqsserver.Message{Body: event(1)}); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	failing := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// The SDK tries a call three times.
		if calls.Add(1) <= 5 {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		server.ServeHTTP(rw, r)
	}))
	t.Cleanup(failing.Close)
	t.Setenv("AWS_ENDPOINT_URL_SQS", failing.URL)
	var log bytes.Buffer
	queued := openSQS(t, url, source.SQSOptions{Once: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s, err := etl.Run(t.Context(), w, queued, etl.Options{})
	queued.Close(context.Background())
	if err != nil || s.Stored != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, line := range []string{`msg="the queue is away: trying again"`, `msg="the queue answers again" lasted=`} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("the log has %s %d times, want 1:\n%s", line, n, &log)
		}
	}
}
