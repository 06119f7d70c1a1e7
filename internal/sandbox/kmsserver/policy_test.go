package kmsserver_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"cloakroom/internal/sandbox/kmsserver"
)

func denied(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException"
}

// TestRoles tries every role at every operation and purpose, against the design's table written out again.
func TestRoles(t *testing.T) {
	type allowed map[string][]string
	table := map[string]allowed{
		"init":    {"GenerateDataKey": {"index"}, "Decrypt": {"index"}},
		"ingest":  {"GenerateDataKey": {"seal"}, "Decrypt": {"index"}},
		"auditor": {"Decrypt": {"seal", "index"}},
		"rotator": {
			"GenerateDataKey": {"seal", "index"},
			"Decrypt":         {"seal", "index"},
			"ReEncrypt":       {"seal", "index"},
		},
		"approver": {},
		"analyst":  {},
		"stranger": {}, // no policy at all
	}
	policies := kmsserver.Roles()
	policies["admin"] = kmsserver.Administrator()
	srv := start(t, kmsserver.Config{Policies: policies})
	admin := newClient(t, srv, "admin")

	for role, may := range table {
		client := newClient(t, srv, role)
		for _, p := range []string{"seal", "index", "other", ""} {
			context := purpose(p)
			if p == "" {
				delete(context, "purpose")
			}
			blob := mustGenerate(t, admin, context).CiphertextBlob
			for op, call := range map[string]func() error{
				"GenerateDataKey": func() error { _, err := generate(t, client, context); return err },
				"Decrypt":         func() error { _, err := decrypt(t, client, blob, context); return err },
				"ReEncrypt": func() error {
					_, err := client.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: kek, SourceEncryptionContext: context, DestinationEncryptionContext: context})
					return err
				},
				"Encrypt": func() error {
					_, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: kek, Plaintext: []byte("x"), EncryptionContext: context})
					return err
				},
				"DescribeKey": func() error {
					_, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: kek})
					return err
				},
				"CreateKey": func() error { _, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{}); return err },
				"DisableKey": func() error {
					_, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: kek})
					return err
				},
			} {
				err := call()
				if slices.Contains(may[op], p) {
					if err != nil {
						t.Errorf("%s may %s for %q: got %v", role, op, p, err)
					}
				} else if !denied(err) {
					t.Errorf("%s may not %s for %q: got %v", role, op, p, err)
				}
			}
		}
	}
}

func TestReEncryptNeedsBothPurposes(t *testing.T) {
	srv := start(t, kmsserver.Config{Policies: map[string]kmsserver.Policy{
		"admin": kmsserver.Administrator(),
		"half":  {"ReEncrypt": {"seal"}},
	}})
	blob := mustGenerate(t, newClient(t, srv, "admin"), purpose("seal")).CiphertextBlob
	_, err := newClient(t, srv, "half").ReEncrypt(t.Context(), &kms.ReEncryptInput{
		CiphertextBlob: blob, DestinationKeyId: kek, SourceEncryptionContext: purpose("seal"), DestinationEncryptionContext: purpose("index"),
	})
	if !denied(err) {
		t.Errorf("got %v, want AccessDeniedException", err)
	}
}

func TestAPolicyChangedWhileRunning(t *testing.T) {
	srv := start(t, kmsserver.Config{})
	client := newClient(t, srv, "ingest")
	mustGenerate(t, client, purpose("seal"))
	srv.SetPolicy("ingest", kmsserver.Policy{})
	if _, err := generate(t, client, purpose("seal")); !denied(err) {
		t.Errorf("got %v, want AccessDeniedException", err)
	}
}

func TestUnknownAccessKey(t *testing.T) {
	srv := start(t,
		kmsserver.Config{Secrets: map[string]string{"ingest": testSecret, "other": "not the secret it uses"}})
	mustGenerate(t, newClient(t, srv, "ingest"), nil)
	for accessKey, code := range map[string]string{"stranger": "UnrecognizedClientException", "other": "InvalidSignatureException"} {
		var api smithy.APIError
		if _, err := generate(t, newClient(t, srv, accessKey), nil); !errors.As(err, &api) || api.ErrorCode() != code {
			t.Errorf("%s: got %v, want %s", accessKey, err, code)
		}
	}
}
