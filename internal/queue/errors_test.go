package queue_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloakroom/internal/queue"
)

// What an operator reads about a queue that does not answer says what is wrong and what to check,
// and nothing of the SDK's own: no operation error, no request id.
func TestErrorsSayWhatToCheck(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("<html>no such page</html>"))
	}))
	defer page.Close()
	aws := func(code, message string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.sqs#` + code + `","message":"` + message + `"}`))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for name, c := range map[string]struct {
		url    string
		secret string
		want   string
	}{
		"nobody listens":       {"http://127.0.0.1:1", "s", "the queue cannot be reached: dial tcp 127.0.0.1:1: connect: connection refused: check the queue's URL"},
		"no such host":         {"http://sqs.invalid", "s", "the queue cannot be reached: there is no host sqs.invalid: check the queue's URL"},
		"something else":       {page.URL, "s", "answers with HTTP status 404, not as SQS does"},
		"a wrong secret":       {aws("SignatureDoesNotMatch", "no match"), "s", "SignatureDoesNotMatch: no match (check the AWS credentials, and the host's clock)"},
		"not allowed":          {aws("AccessDeniedException", "no"), "s", "AccessDeniedException: no (the credentials may not do this: deploy/iam has the policy)"},
		"no credentials":       {page.URL, "", "there are no AWS credentials to sign with: set AWS_PROFILE"},
		"something of AWS's":   {aws("KmsDisabled", "the key is off"), "s", "reading the queue's attributes: KmsDisabled: the key is off"},
		"a queue that is gone": {aws("QueueDoesNotExist", "gone"), "s", "the queue does not exist: check the queue's URL (--queue-url, --queue) and AWS_REGION"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL_SQS", c.url)
			t.Setenv("AWS_REGION", "us-east-1")
			t.Setenv("AWS_ACCESS_KEY_ID", c.secret)
			t.Setenv("AWS_SECRET_ACCESS_KEY", c.secret)
			t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
			t.Setenv("AWS_CONFIG_FILE", "/nowhere")
			q, err := queue.Open(t.Context(), queue.Config{URL: c.url + "/000000000000/logins"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = q.Attributes(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v\nwant %s", err, c.want)
			}
			for _, raw := range []string{"operation error", "RequestID", "https response error", "maximum number of attempts", "html"} {
				if strings.Contains(err.Error(), raw) {
					t.Errorf("the SDK's own text shows: %v", err)
				}
			}
		})
	}
}
