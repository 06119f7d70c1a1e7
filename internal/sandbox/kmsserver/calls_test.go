package kmsserver_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/kmsserver"
)

// trail is what a reader of CloudTrail's log looks at.
type trail struct {
	EventTime, EventSource, EventName, ErrorCode string
	UserIdentity                                 struct{ AccessKeyID string }
	RequestParameters                            struct {
		KeyID                                                                    string
		EncryptionContext, SourceEncryptionContext, DestinationEncryptionContext map[string]string
	}
	RequestID string
	Resources []struct{ ARN string }
}

func TestCloudTrail(t *testing.T) {
	now := time.Date(2026, 7, 4, 12, 0, 0, 5e8, time.UTC)
	roles := kmsserver.Roles()
	srv := start(
		t,
		kmsserver.Config{
			Policies: map[string]kmsserver.Policy{"ingest": roles["ingest"], "rotator": roles["rotator"]},
			Now:      func() time.Time { return now },
		},
	)
	g := mustGenerate(t, newClient(t, srv, "ingest"), purpose("seal"))
	if _, err := decrypt(t, newClient(t, srv, "ingest"), g.CiphertextBlob, purpose("seal")); !denied(err) {
		t.Fatal(err)
	}
	if _, err := newClient(t, srv, "rotator").ReEncrypt(t.Context(), &kms.ReEncryptInput{
		CiphertextBlob: g.CiphertextBlob, DestinationKeyId: kek, SourceEncryptionContext: purpose("seal"), DestinationEncryptionContext: purpose("index"),
	}); err != nil {
		t.Fatal(err)
	}
	srv.Inject(awswire.Fault{Error: kmsserver.ErrThrottling, Times: 1})
	if _, err := generate(t, newClient(t, srv, "ingest"), purpose("seal")); err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	if err := srv.WriteCloudTrail(&out); err != nil {
		t.Fatal(err)
	}
	var log struct{ Records []trail }
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	type line struct {
		name, key, code string
		context         map[string]string
		arns            int
	}
	var got []line
	for _, r := range log.Records {
		if r.EventTime != "2026-07-04T12:00:00Z" || r.EventSource != "kms.amazonaws.com" || r.RequestID == "" {
			t.Errorf("record: %+v", r)
		}
		got = append(
			got,
			line{
				r.EventName,
				r.UserIdentity.AccessKeyID,
				r.ErrorCode,
				r.RequestParameters.EncryptionContext,
				len(r.Resources),
			},
		)
	}
	want := []line{
		{"GenerateDataKey", "ingest", "", purpose("seal"), 1},
		{"Decrypt", "ingest", "AccessDenied", purpose("seal"), 1},
		{"ReEncrypt", "rotator", "", nil, 1},
		{"GenerateDataKey", "ingest", "ThrottlingException", nil, 0},
		{"GenerateDataKey", "ingest", "", purpose("seal"), 1},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(line{})); d != "" {
		t.Error(d)
	}
	moved := log.Records[2].RequestParameters
	if d := cmp.Diff([]map[string]string{purpose("seal"), purpose("index")}, []map[string]string{moved.SourceEncryptionContext, moved.DestinationEncryptionContext}); d != "" {
		t.Error(d)
	}
	for _, secret := range []string{"Plaintext", "CiphertextBlob"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the log holds a %s", secret)
		}
	}
}

func TestFaults(t *testing.T) {
	srv := start(t, kmsserver.Config{})
	client := newClient(t, srv, "ingest")
	once := func(o *kms.Options) { o.RetryMaxAttempts = 1 }
	in := &kms.GenerateDataKeyInput{KeyId: kek, KeySpec: types.DataKeySpecAes256}

	for _, fault := range []*awswire.Error{kmsserver.ErrThrottling, kmsserver.ErrInternal, kmsserver.ErrKeyUnavailable, kmsserver.ErrDependencyTimeout} {
		srv.Inject(awswire.Fault{Op: "GenerateDataKey", Error: fault, Times: 1})
		if _, err := client.GenerateDataKey(t.Context(), in, once); err == nil ||
			!strings.Contains(err.Error(), fault.Shape) {
			t.Errorf("got %v, want %s", err, fault.Shape)
		}
	}
	srv.Inject(awswire.Fault{Error: kmsserver.ErrDependencyTimeout, Times: 1})
	var timeout *types.DependencyTimeoutException
	if _, err := client.GenerateDataKey(t.Context(), in, once); !errors.As(err, &timeout) {
		t.Errorf("got %v, want DependencyTimeoutException", err)
	}

	up := srv.Inject(awswire.Fault{Drop: true})
	if _, err := client.GenerateDataKey(t.Context(), in, once); err == nil {
		t.Error("the service is down and answers")
	}
	up()
	if _, err := client.GenerateDataKey(t.Context(), in, once); err != nil {
		t.Errorf("the service is up again: %v", err)
	}
}

// TestContextsThatReadAlike seals under contexts whose parts, written one after another, are the same bytes.
func TestContextsThatReadAlike(t *testing.T) {
	client := newClient(t, start(t, kmsserver.Config{}), "any")
	blob := mustGenerate(t, client, map[string]string{"a": "bc", "d": ""}).CiphertextBlob
	for _, other := range []map[string]string{{"ab": "c", "d": ""}, {"a": "b", "c": "d"}, {"a": "bcd"}} {
		var wrong *types.InvalidCiphertextException
		if _, err := decrypt(t, client, blob, other); !errors.As(err, &wrong) {
			t.Errorf("%v: got %v, want InvalidCiphertextException", other, err)
		}
	}
}

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	client := newClient(t, start(t, kmsserver.Config{}), "any")
	blob := mustGenerate(t, client, nil).CiphertextBlob
	for i := range blob {
		damaged := bytes.Clone(blob)
		damaged[i] ^= 1
		if _, err := decrypt(t, client, damaged, nil); err == nil {
			t.Errorf("damage at byte %d of %d goes unnoticed", i, len(blob))
		}
	}
}
