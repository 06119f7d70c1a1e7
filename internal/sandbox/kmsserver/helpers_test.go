package kmsserver_test

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"go.uber.org/goleak"

	"cloakroom/internal/sandbox/kmsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "a secret of 16 and more"

func start(t *testing.T, config kmsserver.Config) *kmsserver.Server {
	t.Helper()
	srv := kmsserver.New(config)
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

func newClient(t *testing.T, srv *kmsserver.Server, accessKey string) *kms.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	url := srv.URL()
	return kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: &url, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, testSecret, ""),
	})
}

var kek = aws.String(kmsserver.DefaultAlias)

func purpose(p string) map[string]string {
	return map[string]string{"app": "cloakroom", "purpose": p, "key": "1"}
}

func generate(t *testing.T, client *kms.Client, context map[string]string) (*kms.GenerateDataKeyOutput, error) {
	return client.GenerateDataKey(t.Context(),
		&kms.GenerateDataKeyInput{KeyId: kek, KeySpec: types.DataKeySpecAes256, EncryptionContext: context})
}

func mustGenerate(t *testing.T, client *kms.Client, context map[string]string) *kms.GenerateDataKeyOutput {
	t.Helper()
	out, err := generate(t, client, context)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func decrypt(t *testing.T, client *kms.Client, blob []byte, context map[string]string) ([]byte, error) {
	out, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
	if err != nil {
		return nil, err
	}
	return out.Plaintext, nil
}
