package conformance_test

import (
	"net/http"
	"os"
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

// accessKey is the environment's where an endpoint is, else one that the stand-ins are told of.
func accessKey() aws.CredentialsProvider {
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if id == "" || os.Getenv("AWS_ENDPOINT_URL_SQS") == "" && os.Getenv("AWS_ENDPOINT_URL_KMS") == "" {
		return credentials.NewStaticCredentialsProvider("conformance", testSecret, "")
	}
	return credentials.NewStaticCredentialsProvider(id, secret, os.Getenv("AWS_SESSION_TOKEN"))
}

const testSecret = "a secret of 16 and more"

func TestSQS(t *testing.T) {
	url := endpoint(t, "AWS_ENDPOINT_URL_SQS", func() (string, func() error, error) {
		srv := sqsserver.New(sqsserver.Config{Secrets: map[string]string{"conformance": testSecret}})
		err := srv.Start()
		return srv.URL(), srv.Close, err
	})
	client := sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: accessKey(), HTTPClient: httpClient(t)})
	conformance.SQS(t, client, gaps(t))
}

func TestKMS(t *testing.T) {
	url := endpoint(t, "AWS_ENDPOINT_URL_KMS", func() (string, func() error, error) {
		srv := kmsserver.New(kmsserver.Config{Secrets: map[string]string{"conformance": testSecret}})
		err := srv.Start()
		return srv.URL(), srv.Close, err
	})
	client := kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: accessKey(), HTTPClient: httpClient(t)})
	conformance.KMS(t, client, nil)
}
