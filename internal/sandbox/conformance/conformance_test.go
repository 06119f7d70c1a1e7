package conformance_test

import (
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.uber.org/goleak"

	"cloakroom/internal/sandbox/conformance"
	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/internal/sandbox/sqsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint is what the environment names, else what start gives.
func endpoint(t *testing.T, variable string, start func() (url string, stop func() error, err error)) string {
	if url := os.Getenv(variable); url != "" {
		return url
	}
	url, stop, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return url
}

func httpClient(t *testing.T) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// gaps of the server that the environment names, if it is one whose gaps are known.
func gaps(t *testing.T) conformance.Gaps {
	server := os.Getenv("CLOAKROOM_CONFORMANCE_SERVER")
	known, ok := conformance.SQSGaps[server]
	if server != "" && !ok {
		t.Fatalf("CLOAKROOM_CONFORMANCE_SERVER: no gaps are known of %q", server)
	}
	return known
}

// accessKey is the environment's where an endpoint is, else one that the fakes are told of.
func accessKey() aws.CredentialsProvider {
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if id == "" || os.Getenv("AWS_ENDPOINT_URL_SQS") == "" && os.Getenv("AWS_ENDPOINT_URL_KMS") == "" {
		return credentials.NewStaticCredentialsProvider("conformance", testSecret, "")
	}
	return credentials.NewStaticCredentialsProvider(id, secret, os.Getenv("AWS_SESSION_TOKEN"))
}

const testSecret = "a secret of 16 and more"

// proved fails the test if the suite did not bring each operation of a fake to success: what nothing proves has no
// place in it. It holds for the whole suite, not for a part that -run chose.
func proved(t *testing.T, operations []string, done map[string]bool) {
	if run := flag.Lookup("test.run").Value.String(); strings.Contains(run, "/") {
		return
	}
	for _, op := range operations {
		if !done[op] {
			t.Errorf("no check brings %s to success", op)
		}
	}
}

func TestSQS(t *testing.T) {
	url := endpoint(t, "AWS_ENDPOINT_URL_SQS", func() (string, func() error, error) {
		srv := sqsserver.New(sqsserver.Config{Secrets: map[string]string{"conformance": testSecret}})
		t.Cleanup(func() {
			done := map[string]bool{}
			for _, c := range srv.Calls() {
				done[c.Op] = done[c.Op] || c.Outcome == "ok"
			}
			proved(t, sqsserver.Operations(), done)
		})
		err := srv.Start()
		return srv.URL(), srv.Close, err
	})
	client := sqs.New(
		sqs.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: accessKey(), HTTPClient: httpClient(t)})
	conformance.SQS(t, client, gaps(t))
}

func TestKMS(t *testing.T) {
	url := endpoint(t, "AWS_ENDPOINT_URL_KMS", func() (string, func() error, error) {
		srv := kmsserver.New(kmsserver.Config{Secrets: map[string]string{"conformance": testSecret}})
		t.Cleanup(func() {
			done := map[string]bool{}
			for _, c := range srv.Calls() {
				done[c.Op] = done[c.Op] || c.Outcome == "ok"
			}
			proved(t, kmsserver.Operations(), done)
		})
		err := srv.Start()
		return srv.URL(), srv.Close, err
	})
	client := kms.New(
		kms.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: accessKey(), HTTPClient: httpClient(t)})
	conformance.KMS(t, client, nil)
}
