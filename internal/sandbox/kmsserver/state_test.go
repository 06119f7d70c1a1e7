package kmsserver_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"

	"cloakroom/internal/sandbox/kmsserver"
)

func TestAServerThatComesBackOpensWhatItSealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.json")
	first := start(t, kmsserver.Config{StatePath: path})
	client := newClient(t, first, "any")
	before := mustGenerate(t, client, purpose("seal"))
	if _, err := client.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: aws.String(*before.KeyId)}); err != nil {
		t.Fatal(err)
	}
	after := mustGenerate(t, client, purpose("seal"))

	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("the file: %v %v, want mode 0600", info.Mode(), err)
	}
	state, err := kmsserver.LoadState(path)
	if err != nil {
		t.Fatal(err)
	}
	second := newClient(t, start(t, kmsserver.Config{State: state}), "any")
	for _, g := range []*kms.GenerateDataKeyOutput{before, after} {
		if got, err := decrypt(t, second, g.CiphertextBlob, purpose("seal")); err != nil || !bytes.Equal(got, g.Plaintext) {
			t.Errorf("after the restart: %v", err)
		}
	}
	if got := mustGenerate(t, second, nil); *got.KeyId != *before.KeyId || *got.KeyMaterialId != *after.KeyMaterialId {
		t.Errorf("the alias leads to %s %s, want %s %s", *got.KeyId, *got.KeyMaterialId, *before.KeyId, *after.KeyMaterialId)
	}
}

func TestStateSavedTwiceIsTheSame(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := kmsserver.New(kmsserver.Config{Aliases: []string{"alias/one", "alias/two"}}).State().Save(a); err != nil {
		t.Fatal(err)
	}
	state, err := kmsserver.LoadState(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := kmsserver.New(kmsserver.Config{State: state, Aliases: []string{}}).State().Save(b); err != nil {
		t.Fatal(err)
	}
	was, _ := os.ReadFile(a)
	is, _ := os.ReadFile(b)
	if d := cmp.Diff(string(was), string(is)); d != "" || len(was) == 0 {
		t.Error(d)
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("%d files, want no temporary one left", len(names))
	}
}

func TestStateThatCannotBeUsed(t *testing.T) {
	if _, err := kmsserver.LoadState(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("a file that is not there: %v", err)
	}
	for name, text := range map[string]string{
		"not JSON":                 `{`,
		"another version":          `{"version":2}`,
		"an id that is no UUID":    `{"version":1,"keys":[{"id":"x","materials":[]}]}`,
		"no material":              `{"version":1,"keys":[{"id":"6f2c0a52-9d0b-4c39-9b0c-1de1e8f0a001"}]}`,
		"material of a wrong size": `{"version":1,"keys":[{"id":"6f2c0a52-9d0b-4c39-9b0c-1de1e8f0a001","materials":[{"key":"AAAA"}]}]}`,
		"an alias to nowhere":      `{"version":1,"aliases":[{"name":"alias/x","target":"6f2c0a52-9d0b-4c39-9b0c-1de1e8f0a001"}]}`,
	} {
		path := filepath.Join(t.TempDir(), "kms.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := kmsserver.LoadState(path); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

func TestAChangeThatCannotBeSavedIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	srv := start(t, kmsserver.Config{StatePath: filepath.Join(dir, "kms.json")})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := newClient(t, srv, "any").CreateKey(t.Context(), &kms.CreateKeyInput{}, func(o *kms.Options) { o.RetryMaxAttempts = 1 }); err == nil {
		t.Error("a key that could not be saved was handed out")
	}
}

func TestStatePrintsNoKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.json")
	srv := kmsserver.New(kmsserver.Config{})
	if err := srv.State().Save(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `"key": "`)
	inFile, _, _ := strings.Cut(rest, `"`)
	if len(inFile) != 44 {
		t.Fatalf("no key found in the file: %q", inFile)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if out := fmt.Sprintf(verb, srv.State()); len(out) > 4096 || strings.Contains(out, inFile) {
			t.Errorf("%s prints %q", verb, out)
		}
	}
}

func TestAKeyPastItsDeletionIsGone(t *testing.T) {
	now := time.Date(2026, 7, 4, 12, 0, 0, 0, time.UTC)
	srv := start(t, kmsserver.Config{Now: func() time.Time { return now }})
	client := newClient(t, srv, "any")
	g := mustGenerate(t, client, nil)
	if _, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: g.KeyId, PendingWindowInDays: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	now = now.AddDate(0, 0, 7).Add(-time.Second)
	var pending *types.KMSInvalidStateException
	if _, err := decrypt(t, client, g.CiphertextBlob, nil); !errors.As(err, &pending) {
		t.Errorf("a second before: got %v, want KMSInvalidStateException", err)
	}
	now = now.Add(time.Second)
	if _, err := decrypt(t, client, g.CiphertextBlob, nil); !denied(err) {
		t.Errorf("on the day: got %v, want AccessDeniedException", err)
	}
	var notFound *types.NotFoundException
	if _, err := generate(t, client, nil); !errors.As(err, &notFound) {
		t.Errorf("its alias: got %v, want NotFoundException", err)
	}
}

func TestAutomaticRotation(t *testing.T) {
	now := time.Date(2026, 7, 4, 12, 0, 0, 0, time.UTC)
	srv := start(t, kmsserver.Config{Now: func() time.Time { return now }})
	client := newClient(t, srv, "any")
	first := mustGenerate(t, client, nil)
	if _, err := client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: first.KeyId, RotationPeriodInDays: aws.Int32(90)}); err != nil {
		t.Fatal(err)
	}
	if again := mustGenerate(t, client, nil); *again.KeyMaterialId != *first.KeyMaterialId {
		t.Error("the material changed before its time")
	}
	now = now.AddDate(0, 0, 90)
	if later := mustGenerate(t, client, nil); *later.KeyMaterialId == *first.KeyMaterialId || *later.KeyId != *first.KeyId {
		t.Errorf("after 90 days: key %s, material %s, want the same key with new material", *later.KeyId, *later.KeyMaterialId)
	}
	if _, err := decrypt(t, client, first.CiphertextBlob, nil); err != nil {
		t.Errorf("what the old material sealed: %v", err)
	}
	list, err := client.ListKeyRotations(t.Context(), &kms.ListKeyRotationsInput{KeyId: first.KeyId})
	if err != nil || len(list.Rotations) != 1 || list.Rotations[0].RotationType != types.RotationTypeAutomatic {
		t.Errorf("rotations: %+v %v", list, err)
	}
}
