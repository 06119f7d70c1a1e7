package queue

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// late is an HTTP client whose transport looks at a body once more after the answer has come, as
// net/http's may.
type late struct {
	bodies []io.ReadCloser
	sent   []string
}

func (l *late) Do(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	l.bodies, l.sent = append(l.bodies, r.Body), append(l.sent, string(text))
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(strings.NewReader("{}")), Request: r, ContentLength: 2,
	}, nil
}

// A body that is read again after its end has ended: an error would cut the connection under the
// answer.
func TestBodiesEndQuietly(t *testing.T) {
	client := &late{}
	config, err := Config{URL: "http://queue.test/000000000000/logins"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	q := newQueue(config, aws.Config{
		Region: "us-east-1", HTTPClient: client, BaseEndpoint: aws.String("http://queue.test"),
		Credentials: credentials.NewStaticCredentialsProvider("ingest", "a secret of sixteen and more", ""),
	})
	if _, _, err := q.receive(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := q.deleteBatch(t.Context(), []string{"a handle"}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.changeBatch(t.Context(), []string{"a handle"}, time.Second); err != nil {
		t.Fatal(err)
	}
	if len(client.bodies) != 3 {
		t.Fatalf("%d calls", len(client.bodies))
	}
	for i, body := range client.bodies {
		if !strings.Contains(client.sent[i], "queue.test") {
			t.Errorf("call %d sent %q", i, client.sent[i])
		}
		if n, err := io.Copy(io.Discard, body); n != 0 || err != nil {
			t.Errorf("call %d: reading on after the end: %d bytes, %v", i, n, err)
		}
	}
}
