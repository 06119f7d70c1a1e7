package queue_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

var clients = []string{queue.ClientDirect, queue.ClientSDK}

// agents counts the requests to a server by operation and client.
type agents struct {
	next  http.Handler
	mu    sync.Mutex
	count map[string]int
}

func (a *agents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client := queue.ClientSDK
	if r.UserAgent() == "cloakroom" {
		client = queue.ClientDirect
	}
	a.mu.Lock()
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	a.count[op+" "+client]++
	a.mu.Unlock()
	a.next.ServeHTTP(w, r)
}

// awkward are bodies that JSON must escape, and the largest that SQS takes.
var awkward = []string{
	`{"user_id":"1"}`, "tab\tnewline\r\n", `quotes " and \ backslashes \\u0041`, "é ü \u2028 \U0001f511 <&>", " ",
	strings.Repeat(`"`, 512<<10), strings.Repeat("x", 1<<20),
}

// Both clients receive and delete the same, from the sandbox's server or from the one that
// AWS_ENDPOINT_URL_SQS names.
func TestBothClientsDoTheSame(t *testing.T) {
	for _, client := range clients {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			seen := agents{count: map[string]int{}}
			q, stop := openAnywhere(t, client, &seen)
			defer stop()
			for _, body := range awkward {
				if _, err := q.Send(t.Context(), []string{body}); err != nil {
					t.Fatal(err)
				}
			}
			consumer := q.Consume(slog.New(slog.DiscardHandler))
			defer consumer.Close(t.Context())
			var bodies []string
			for deadline := time.Now().Add(time.Minute); len(bodies) < len(awkward) && time.Now().Before(deadline); {
				got, err := consumer.Receive(t.Context(), 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range got {
					if m.ID == "" || m.Receives != 1 || time.Since(m.Sent).Abs() > time.Hour {
						t.Errorf("received %s for the %d. time, sent at %v", m.ID, m.Receives, m.Sent)
					}
					bodies = append(bodies, string(m.Body))
				}
				consumer.Done(got)
			}
			want := slices.Sorted(slices.Values(awkward))
			slices.Sort(bodies)
			if !slices.Equal(bodies, want) {
				t.Errorf("received %.300q\nwant %.300q", bodies, want)
			}
			consumer.Close(t.Context())
			if seen.next != nil {
				other := clients[1-slices.Index(clients, client)]
				if seen.count[receive+" "+client] == 0 || seen.count[remove+" "+client] == 0 || seen.count[receive+" "+other]+seen.count[remove+" "+other] > 0 {
					t.Errorf("the calls were %v", seen.count)
				}
			}
		})
	}
}

func openAnywhere(t *testing.T, client string, seen *agents) (*queue.Queue, func()) {
	t.Helper()
	c := queue.Config{Wait: time.Second, Client: client}
	if os.Getenv("AWS_ENDPOINT_URL_SQS") == "" {
		server := sqsserver.New(sqsserver.Config{Secrets: map[string]string{"ingest": "a secret of sixteen and more"}})
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		seen.next = server
		front := httptest.NewServer(seen)
		if _, err := server.CreateQueue(name, nil); err != nil {
			t.Fatal(err)
		}
		c.URL = server.QueueURL(name)
		return queue.OpenAt(t, front.URL, c), func() {
			front.Close()
			server.Close()
		}
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	admin := sqs.NewFromConfig(cfg)
	made, err := admin.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(fmt.Sprintf("cloakroom-%s-%d", client, time.Now().UnixNano()))})
	if err != nil {
		t.Fatal(err)
	}
	c.URL = *made.QueueUrl
	q, err := queue.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return q, func() {
		if _, err := admin.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &c.URL}); err != nil {
			t.Error(err)
		}
	}
}

var requestID = regexp.MustCompile(`RequestID: [^,]*`)

// Errors read the same over both clients, and take as many calls.
func TestErrorsAreTheSame(t *testing.T) {
	t.Parallel()
	for what, fault := range map[string]awswire.Fault{
		"no queue":    {},
		"throttled":   {Error: sqsserver.ErrRequestThrottled},
		"over limit":  {Error: sqsserver.ErrOverLimit},
		"unavailable": {Error: awswire.ErrServiceUnavailable},
		"dropped":     {Drop: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := sqsserver.New(sqsserver.Config{})
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			if what != "no queue" {
				if _, err := server.CreateQueue(name, nil); err != nil {
					t.Fatal(err)
				}
				server.Inject(fault)
			}
			var texts []string
			var calls []int
			for _, client := range clients {
				q := queue.OpenAt(t, server.URL(), queue.Config{URL: server.QueueURL(name), Wait: time.Second, Client: client})
				consumer := q.Consume(slog.New(slog.DiscardHandler))
				before := len(server.Calls())
				_, err := consumer.Receive(t.Context(), 0)
				calls = append(calls, len(server.Calls())-before)
				if err == nil {
					t.Fatal("it did not fail")
				}
				texts = append(texts, requestID.ReplaceAllString(err.Error(), ""))
				consumer.Close(t.Context())
			}
			if texts[0] != texts[1] || calls[0] != calls[1] {
				t.Errorf("after %d calls and %d calls:\n%s\n%s", calls[0], calls[1], texts[0], texts[1])
			}
		})
	}
}
