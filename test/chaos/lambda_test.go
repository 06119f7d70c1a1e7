package chaos

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/s3server"
)

// runtimeAPI is AWS Lambda's, as far as a function needs it: it hands out one call after another.
type runtimeAPI struct {
	*httptest.Server
	calls   chan string
	answers chan string
	source  string // ARN of the queue that the messages come from
}

func newRuntimeAPI(t *testing.T) *runtimeAPI {
	a := &runtimeAPI{calls: make(chan string), answers: make(chan string, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case call := <-a.calls:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", uuid.NewString())
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(20*time.Second).UnixMilli()))
			_, _ = io.WriteString(w, call)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{what}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.answers <- r.PathValue("what") + " " + string(body)
		w.WriteHeader(http.StatusAccepted)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.CloseClientConnections)
	return a
}

// sentTimestamp is that of all messages: SQS gives a message the same at each delivery.
var sentTimestamp = fmt.Sprint(time.Now().UnixMilli())

// call calls the function with messages, each an id and a body, and returns the ids that it hands back.
func (a *runtimeAPI) call(r *rig, messages map[string]string) map[string]bool {
	r.Helper()
	type record struct {
		ID         string            `json:"messageId"`
		Body       string            `json:"body"`
		Attributes map[string]string `json:"attributes"`
		Source     string            `json:"eventSourceARN"`
	}
	var event struct{ Records []record }
	for id, body := range messages {
		event.Records = append(event.Records, record{id, body, map[string]string{
			"ApproximateReceiveCount": "1", "SentTimestamp": sentTimestamp,
		}, a.source})
	}
	text, err := json.Marshal(event)
	r.must(err)
	select {
	case a.calls <- string(text):
	case <-time.After(20 * time.Second):
		r.Fatal("the function takes no call")
	}
	select {
	case text := <-a.answers:
		kind, body, _ := strings.Cut(text, " ")
		var answer struct {
			Failures []struct {
				ID string `json:"itemIdentifier"`
			} `json:"batchItemFailures"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || kind != "response" {
			r.Fatalf("the function answered %s: %v", text, err)
		}
		failed := map[string]bool{}
		for _, f := range answer.Failures {
			failed[f.ID] = true
		}
		return failed
	case <-time.After(25 * time.Second):
		r.Fatal("the function does not answer")
	}
	return nil
}

func (r *rig) lambdaMessages(n int) map[string]string {
	messages := map[string]string{}
	for range n {
		id, e := uuid.NewString(), newEvent(len(r.sent))
		r.sent[id] = e
		messages[id] = e.body
	}
	return messages
}

// The same binary as a Lambda function: what is stored or rejected is done; what the infrastructure keeps from being
// committed is handed back, all of it and nothing else.
func TestLambda(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	api := newRuntimeAPI(t)
	start := func() *process {
		return r.startWith([]string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.URL, "http://"),
			"CLOAKROOM_ROUTE=member:kind", "CLOAKROOM_DATASET=login"}, "ingest", r.databaseURL(), "ingest")
	}
	// The database is away when the function is first called.
	r.toPostgres.Stop()
	p := start()
	first := r.lambdaMessages(10)
	if failed := api.call(r, first); len(failed) != 10 {
		t.Errorf("%d of 10 are handed back while the database is away", len(failed))
	}
	r.must(r.toPostgres.Start())
	if failed := api.call(r, first); len(failed) != 0 {
		t.Errorf("%d of 10 are handed back, want none", len(failed))
	}
	// Delivered again, they are duplicates and done.
	if failed := api.call(r, first); len(failed) != 0 {
		t.Errorf("%d duplicates are handed back", len(failed))
	}
	// It goes away later.
	second := r.lambdaMessages(30)
	r.must(r.postgres.Kill())
	if failed := api.call(r, second); len(failed) != 30 {
		t.Errorf("%d of 30 are handed back while the database is down", len(failed))
	}
	r.restart()
	if failed := api.call(r, second); len(failed) != 0 {
		t.Errorf("%d of 30 are handed back, want none", len(failed))
	}
	// A kill and a new start lose nothing.
	p.signal(syscall.SIGKILL)
	<-p.done
	start()
	if failed := api.call(r, r.lambdaMessages(20)); len(failed) != 0 {
		t.Errorf("%d of 20 are handed back, want none", len(failed))
	}
	r.ledger()
}

// A function that serves several queues goes by the queue of each call, and opens what its events are wrapped in. While
// S3 is away, what lies there is handed back.
func TestLambdaOfSeveralQueues(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.s3.CreateBucket("bodies", false)
	api := newRuntimeAPI(t)
	r.startWith([]string{
		"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.URL, "http://"), "CLOAKROOM_QUEUE_URL=",
		"CLOAKROOM_QUEUE=" + r.sqs.QueueURL("logins") + " dataset=login; " +
			r.sqs.QueueURL("orders") + " dataset=order unwrap=gzip+base64,s3 s3-buckets=bodies",
	}, "ingest", r.databaseURL(), "ingest")
	call := func(queue, dataset string, n int, wrap func(id, body string) string) int {
		t.Helper()
		messages := map[string]string{}
		for id, e := range r.eventsOf(dataset, n) {
			messages[id] = wrap(id, e.body)
		}
		api.source = "arn:aws:sqs:us-east-1:000000000000:" + queue
		failed := len(api.call(r, messages))
		if failed > 0 {
			r.s3.ClearFaults()
			if again := api.call(r, messages); len(again) != 0 {
				t.Errorf("%d of %d are handed back once all is well", len(again), n)
			}
		}
		return failed
	}
	inS3 := func(id, body string) string {
		_, err := r.s3.Put("bodies", id, s3server.Object{Body: []byte(body)})
		r.must(err)
		return packed(fmt.Sprintf(`["com.amazon.sqs.javamessaging.MessageS3Pointer",{"s3BucketName":"bodies","s3Key":%q}]`, id))
	}
	if n := call("logins", "login", 20, plain); n != 0 {
		t.Errorf("%d logins are handed back", n)
	}
	if n := call("orders", "order", 40, inS3); n != 0 {
		t.Errorf("%d orders are handed back", n)
	}
	r.s3.Inject(awswire.Fault{Op: "GetObject", Error: s3server.ErrSlowDown})
	if n := call("orders", "order", 20, inS3); n != 20 {
		t.Errorf("%d of 20 orders are handed back while S3 is away", n)
	}
	r.ledger()
	api.source = "arn:aws:sqs:us-east-1:000000000000:nobody"
	if failed := api.call(r, r.lambdaMessages(5)); len(failed) != 5 {
		t.Errorf("%d of 5 are handed back that no setting is for", len(failed))
	}
}

// packed is gzip in base64.
func packed(text string) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write([]byte(text)) // into memory
	_ = z.Close()
	return base64.StdEncoding.EncodeToString(out.Bytes())
}
