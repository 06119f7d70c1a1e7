package direct_test

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloakroom/internal/queue/direct"
)

// capture is an HTTP client that keeps what the SDK sends.
type capture struct {
	header http.Header
	url    string
	body   string
}

func (c *capture) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c.header, c.url, c.body = r.Header.Clone(), r.URL.String(), string(body)
	return nil, context.Canceled
}

// What is sent is what the SDK sends for the same call: body, path and headers, but for those that name the client or
// count its attempts.
func TestRequestsAreTheSDKs(t *testing.T) {
	handles := []string{"AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a==", `quote " and \ backslash`, "a tab\tand ünïcode \U0001f511"}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(handles))
	for i := range handles {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(string(rune('0' + i))), ReceiptHandle: &handles[i]}
	}
	for what, call := range map[string]struct {
		direct func(*direct.Client)
		sdk    func(*sqs.Client) error
	}{
		"receive": {
			func(c *direct.Client) { _, _, _ = c.Receive(t.Context(), 20*time.Second, 30*time.Second) },
			func(c *sqs.Client) error { _, err := c.ReceiveMessage(t.Context(), receiveInput()); return err },
		},
		"receive without waiting": {
			func(c *direct.Client) { _, _, _ = c.Receive(t.Context(), 0, 12*time.Hour) },
			func(c *sqs.Client) error {
				in := receiveInput()
				in.WaitTimeSeconds, in.VisibilityTimeout = 0, 12*3600
				_, err := c.ReceiveMessage(t.Context(), in)
				return err
			},
		},
		"delete": {
			func(c *direct.Client) { _ = c.DeleteBatch(t.Context(), handles) },
			func(c *sqs.Client) error {
				_, err := c.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(queueURL), Entries: entries})
				return err
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := serve(t, func(w net.Conn, _ int) bool { _, err := io.WriteString(w, plainAnswer("{}")); return err == nil })
			o := options(t, s.url, nil)
			call.direct(open(t, o))
			if n, _ := s.counts(); n != 1 {
				t.Fatalf("%d requests", n)
			}
			var sdk capture
			o.HTTPClient = &sdk
			_ = call.sdk(sqs.New(o)) // it fails: nothing is answered
			ours := s.requests[0]
			if got, want := s.bodies[0], sdk.body; got != want {
				t.Errorf("the body is\n%s\nthe SDK's is\n%s", got, want)
			}
			if ours.Method != http.MethodPost || s.url+ours.URL.Path != sdk.url || "http://"+ours.Host != s.url {
				t.Errorf("%s %s to %s, the SDK sends to %s", ours.Method, ours.URL, ours.Host, sdk.url)
			}
			for _, name := range []string{"User-Agent", "Content-Length", "X-Amz-Date", "Authorization"} {
				if ours.Header.Get(name) == "" {
					t.Errorf("%s is missing", name)
				}
				ours.Header.Del(name)
				sdk.header.Del(name)
			}
			for _, name := range []string{"Amz-Sdk-Invocation-Id", "Amz-Sdk-Request"} { // for AWS's statistics of its SDKs
				sdk.header.Del(name)
			}
			if !maps.EqualFunc(ours.Header, sdk.header, slices.Equal) {
				t.Errorf("the headers are\n%v\nthe SDK's are\n%v", ours.Header, sdk.header)
			}
		})
	}
}

// changing are credentials that a test changes.
type changing struct{ aws.Credentials }

func (c *changing) Retrieve(context.Context) (aws.Credentials, error) { return c.Credentials, nil }

// A poll's signature serves again within its second, under the same credentials.
func TestSignaturesAreReused(t *testing.T) {
	s := serve(t, func(w net.Conn, _ int) bool { _, err := io.WriteString(w, plainAnswer("{}")); return err == nil })
	login := &changing{aws.Credentials{AccessKeyID: "ingest", SecretAccessKey: secret, SessionToken: token}}
	c := open(t, options(t, s.url, func(o *sqs.Options) { o.Credentials = login }))
	poll := func(wait time.Duration) http.Header {
		t.Helper()
		if _, _, err := c.Receive(t.Context(), wait, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.requests[len(s.requests)-1].Header
	}
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // the polls below share a second
	first := poll(time.Second)
	if again := poll(time.Second); again.Get("Authorization") != first.Get("Authorization") {
		t.Error("the same poll in the same second was signed again")
	}
	if other := poll(2 * time.Second); other.Get("Authorization") == first.Get("Authorization") {
		t.Error("another body has the same signature")
	}
	first = poll(time.Second) // which is the last one then
	login.SessionToken = "another"
	renewed := poll(time.Second)
	if renewed.Get("X-Amz-Security-Token") != "another" || renewed.Get("Authorization") == first.Get("Authorization") {
		t.Error("another session token was not signed")
	}
	login.AccessKeyID = "other"
	if other := poll(time.Second); !strings.Contains(other.Get("Authorization"), "Credential=other/") {
		t.Errorf("another access key sent %v", other)
	}
	login.SessionToken = ""
	if other, has := poll(time.Second)["X-Amz-Security-Token"]; has {
		t.Errorf("without a session token, %q was sent", other)
	}
	time.Sleep(1100 * time.Millisecond)
	if later := poll(time.Second); later.Get("X-Amz-Date") == first.Get("X-Amz-Date") {
		t.Error("a signature was used after its second")
	}
}

// Nothing that would end a header or a string is sent.
func TestNothingIsSmuggled(t *testing.T) {
	s := serve(t, func(w net.Conn, _ int) bool { _, err := io.WriteString(w, plainAnswer("{}")); return err == nil })
	for what, bad := range map[string]aws.Credentials{
		"a token of two lines":       {AccessKeyID: "a", SecretAccessKey: secret, SessionToken: "x\r\nX-Evil: 1"},
		"an access key of two lines": {AccessKeyID: "a\r\nX-Evil: 1", SecretAccessKey: secret},
		"no secret":                  {AccessKeyID: "a"},
		"no key":                     {SecretAccessKey: secret},
	} {
		c := open(t, options(t, s.url, func(o *sqs.Options) { o.Credentials = &changing{bad} }))
		if _, _, err := c.Receive(t.Context(), time.Second, time.Second); !handedOver(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n, _ := s.counts(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	c, err := direct.New(options(t, s.url, nil), `http://q/"},"QueueUrl":"http://evil`+"\r\n")
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdle()
	if _, _, err := c.Receive(t.Context(), time.Second, time.Second); err != nil {
		t.Fatal(err)
	}
	if body := s.bodies[0]; strings.Count(body, `"QueueUrl":`) != 1 || strings.ContainsAny(body, "\r\n") {
		t.Errorf("sent %s", body)
	}
	if _, err := direct.New(options(t, s.url, nil), "\xff"); err == nil {
		t.Error("a queue's URL that is not UTF-8 was taken")
	}
	for what, handles := range map[string][]string{"none": nil, "eleven": make([]string, 11), "not UTF-8": {"\xff"}} {
		if err := c.DeleteBatch(t.Context(), handles); !handedOver(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
