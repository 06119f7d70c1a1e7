package kmsserver_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/go-cmp/cmp"

	"cloakroom/internal/sandbox/kmsserver"
)

func TestAServerThatComesBackOpensWhatItSealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.json")
	first := start(t, kmsserver.Config{StatePath: path})
	client := newClient(t, first, "any")
	before := mustGenerate(t, client, purpose("seal"))
	// The alias moves to another key, and stays moved.
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: kek, TargetKeyId: made.KeyMetadata.KeyId}); err != nil {
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
		if got, err := decrypt(t, second, g.CiphertextBlob, purpose("seal")); err != nil ||
			!bytes.Equal(got, g.Plaintext) {
			t.Errorf("after the restart: %v", err)
		}
	}
	if got := mustGenerate(t, second, nil); *got.KeyId != *after.KeyId || *got.KeyId == *before.KeyId {
		t.Errorf("the alias leads to %s, want %s", *got.KeyId, *after.KeyId)
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
		"not JSON":                  `{`,
		"another version":           `{"version":2}`,
		"an id that is no UUID":     `{"version":1,"keys":[{"id":"x"}]}`,
		"no key bytes":              `{"version":1,"keys":[{"id":"6f2c0a52-9d0b-4c39-9b0c-1de1e8f0a001"}]}`,
		"key bytes of a wrong size": `{"version":1,"keys":[{"id":"6f2c0a52-9d0b-4c39-9b0c-1de1e8f0a001","key":"AAAA"}]}`,
		"an alias to nowhere":       `{"version":1,"aliases":[{"name":"alias/x","target":"6f2c0a52-9d0b-4c39-9b0c-1de1e8f0a001"}]}`,
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
