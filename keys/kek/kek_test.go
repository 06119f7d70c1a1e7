package kek_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"cloakroom/keys/kek"
)

func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	if err := kek.GenerateFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func openSet(t *testing.T, uris string) *kek.Set {
	t.Helper()
	s, err := kek.Open(t.Context(), uris)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var sealBinding = kek.Binding{Vault: uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"), Purpose: kek.Seal, Key: 7}

func TestFileRoundTrip(t *testing.T) {
	s := openSet(t, "file://"+newFile(t))
	key, w, err := s.GenerateDataKey(t.Context(), sealBinding)
	if err != nil {
		t.Fatal(err)
	}
	if key.Len() != kek.KeySize {
		t.Fatalf("the key has %d bytes", key.Len())
	}
	if bytes.Contains(w.Blob, key.Expose()) {
		t.Fatal("the wrapped key holds the key in clear")
	}
	back, err := s.Unwrap(t.Context(), w, sealBinding)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Expose(), key.Expose()) {
		t.Fatal("another key came back")
	}
}

func TestFileRefusesToUnwrap(t *testing.T) {
	s := openSet(t, "file://"+newFile(t))
	_, w, err := s.GenerateDataKey(t.Context(), sealBinding)
	if err != nil {
		t.Fatal(err)
	}
	flipped := w
	flipped.Blob = bytes.Clone(w.Blob)
	flipped.Blob[len(flipped.Blob)-1] ^= 1
	version := w
	version.Blob = bytes.Clone(w.Blob)
	version.Blob[0] = 2
	short := w
	short.Blob = w.Blob[:5]
	empty := w
	empty.Blob = nil
	other := sealBinding
	other.Key = 8
	purpose := sealBinding
	purpose.Purpose = kek.Index
	vault := sealBinding
	vault.Vault[0] ^= 1
	for name, c := range map[string]struct {
		w kek.Wrapped
		c kek.Binding
	}{
		"flipped bit": {flipped, sealBinding}, "version": {version, sealBinding}, "short": {short, sealBinding},
		"empty": {empty, sealBinding}, "another key's id": {w, other}, "another purpose": {w,
			purpose}, "another vault": {w, vault},
	} {
		if _, err := s.Unwrap(t.Context(), c.w, c.c); !errors.Is(err, kek.ErrUnwrap) {
			t.Errorf("%s: %v, want ErrUnwrap", name, err)
		}
	}
}

func TestSetUnwrapsUnderOlderKEK(t *testing.T) {
	oldURI, newURI := "file://"+newFile(t), "file://"+newFile(t)
	key, w, err := openSet(t, oldURI).GenerateDataKey(t.Context(), sealBinding)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSet(t, newURI).Unwrap(t.Context(), w, sealBinding); !errors.Is(err, kek.ErrNotConfigured) {
		t.Errorf("unwrapping under a KEK that is not configured: %v", err)
	}
	both := openSet(t, newURI+", "+oldURI)
	moved, err := both.Rewrap(t.Context(), w, sealBinding, newURI)
	if err != nil {
		t.Fatal(err)
	}
	back, err := openSet(t, newURI).Unwrap(t.Context(), moved, sealBinding)
	if err != nil || !bytes.Equal(back.Expose(), key.Expose()) {
		t.Errorf("after the rewrap: %v", err)
	}
}

// systemd shows a credential to a service with a user of its own with mode 0440, in a directory
// that only the service enters.
func TestFileAsACredential(t *testing.T) {
	directory := t.TempDir()
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xC5}, 32))
	for name, mode := range map[string]os.FileMode{"kek": 0o440, "written": 0o460, "open": 0o444, "sub/kek": 0o440} {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	uri := "file://" + directory + "/"
	if _, err := kek.Open(t.Context(), uri+"kek"); err == nil {
		t.Error("mode 0440 is taken where there is no systemd")
	}
	t.Setenv("CREDENTIALS_DIRECTORY", directory)
	if _, err := kek.Open(t.Context(), uri+"kek"); err != nil {
		t.Errorf("a credential: %v", err)
	}
	for _, name := range []string{"written", "open", "sub/kek"} {
		if _, err := kek.Open(t.Context(), uri+name); err == nil {
			t.Errorf("%s is taken for a credential", name)
		}
	}
}

func TestFileIsRefused(t *testing.T) {
	write := func(mode os.FileMode, text string) string {
		path := filepath.Join(t.TempDir(), "kek")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xC5}, 32))
	for name, c := range map[string]struct{ uri, want string }{
		"readable by others": {"file://" + write(0o644, good), "chmod 600"},
		"by its group":       {"file://" + write(0o640, good), "chmod 600"},
		"short":              {"file://" + write(0o600, good[:20]), "32 bytes in base64"},
		"long":               {"file://" + write(0o600, good+good), "32 bytes in base64"},
		"empty":              {"file://" + write(0o600, ""), "32 bytes in base64"},
		"missing":            {"file:///nowhere/kek", "keys kek generate"},
		"relative":           {"file://kek", "absolute path"},
		"a directory":        {"file://" + t.TempDir(), "regular file"},
		"no scheme":          {good, "awskms:/// or file:///"},
		"nothing":            {" ", "CLOAKROOM_KEK"},
	} {
		_, err := kek.Open(t.Context(), c.uri)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), good) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	if err := kek.GenerateFile(write(0o600, good)); err == nil {
		t.Error("a key file was overwritten")
	}
}
