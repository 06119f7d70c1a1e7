package kek

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/secret"
)

// fileVersion is the first byte of what a key file wraps.
const fileVersion = 0x01

// filePrefix begins the id of every key file, and of no KMS key.
const filePrefix = "file:"

// fileKEK is a KEK in a file: 32 bytes in base64. A wrapped key is 0x01 ‖ nonce ‖ ciphertext ‖ tag,
// AES-256-GCM; its associated data is fileBinding (docs/format.md).
type fileKEK struct {
	uri  string
	id   string
	aead func() cipher.AEAD // behind a function, so that fmt cannot walk into the key schedule
}

func openFile(uri string) (*fileKEK, error) {
	path := strings.TrimPrefix(uri, "file://")
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("opening KEK %s: write an absolute path, file:///etc/cloakroom/kek", uri)
	}
	key, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("opening KEK %s: %w", uri, err)
	}
	defer key.Destroy()
	return newFileKEK(uri, key.Expose())
}

func newFileKEK(uri string, key []byte) (*fileKEK, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("opening KEK %s: %w", uri, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("opening KEK %s: %w", uri, err)
	}
	fingerprint, err := envelope.Derive(key, envelope.AppendFields(nil, "cloakroom/v1/kek-id"), 16)
	if err != nil {
		return nil, fmt.Errorf("opening KEK %s: %w", uri, err)
	}
	return &fileKEK{uri: uri, id: filePrefix + hex.EncodeToString(fingerprint),
		aead: func() cipher.AEAD { return aead }}, nil
}

func readKeyFile(path string) (secret.Bytes, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Bytes{}, fmt.Errorf("%w (keys kek generate %s makes one)", err, path)
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return secret.Bytes{}, err
	}
	if !info.Mode().IsRegular() {
		return secret.Bytes{}, errors.New("it is not a regular file")
	}
	if others := info.Mode().Perm() & 0o077; others != 0 && (others != 0o040 || !systemdCredential(path)) {
		return secret.Bytes{}, fmt.Errorf("its mode is %04o, so others can read it: chmod 600 %s",
			info.Mode().Perm(), path)
	}
	text := make([]byte, 256)
	n, err := f.Read(text)
	defer clear(text)
	if err != nil {
		return secret.Bytes{}, errors.New("it cannot be read or is empty: want 32 bytes in base64")
	}
	key := make([]byte, 0, KeySize+3)
	key, err = base64.StdEncoding.Strict().AppendDecode(key, bytes.TrimSpace(text[:n]))
	if err != nil || len(key) != KeySize {
		clear(key)
		return secret.Bytes{}, errors.New("it does not hold 32 bytes in base64")
	}
	return secret.New(key), nil
}

// systemdCredential reports a file that systemd shows to this service only (LoadCredential=,
// systemd.exec(5)). If the service has a user of its own, systemd grants access by an access
// control list, whose mask shows as the group's right to read.
func systemdCredential(path string) bool {
	directory := os.Getenv("CREDENTIALS_DIRECTORY")
	return filepath.IsAbs(directory) && filepath.Dir(path) == filepath.Clean(directory)
}

// GenerateFile makes a new key file, mode 0600, and fails if the path exists.
func GenerateFile(path string) error {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails: crypto/rand
	defer clear(key)
	text := append(base64.StdEncoding.AppendEncode(nil, key), '\n')
	defer clear(text)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("making key file: %w", err)
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return fmt.Errorf("making key file %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("making key file %s: %w", path, err)
	}
	return f.Close()
}

// fileBinding is the associated data: each name and value of the binding, sorted by name.
func fileBinding(b Binding) []byte {
	m := b.Map()
	var ad []byte
	for _, k := range slices.Sorted(maps.Keys(m)) {
		ad = envelope.AppendFields(ad, k, m[k])
	}
	return ad
}

func (k *fileKEK) GenerateDataKey(ctx context.Context, b Binding) (secret.Bytes, Wrapped, error) {
	key := make([]byte, KeySize)
	rand.Read(key)
	s := secret.New(key)
	w, err := k.wrap(ctx, s, b)
	return s, w, err
}

func (k *fileKEK) wrap(_ context.Context, key secret.Bytes, b Binding) (Wrapped, error) {
	blob := k.aead().Seal([]byte{fileVersion}, nil, key.Expose(), fileBinding(b))
	return Wrapped{KEK: k.uri, KEKID: k.id, Blob: blob}, nil
}

func (k *fileKEK) Unwrap(_ context.Context, w Wrapped, b Binding) (secret.Bytes, error) {
	if len(w.Blob) == 0 || w.Blob[0] != fileVersion {
		return secret.Bytes{}, fmt.Errorf("unwrapping %s with %s: %w", b, k.uri, ErrUnwrap)
	}
	key, err := k.aead().Open(nil, nil, w.Blob[1:], fileBinding(b))
	if err != nil || len(key) != KeySize {
		return secret.Bytes{}, fmt.Errorf("unwrapping %s with %s: %w", b, k.uri, ErrUnwrap)
	}
	return secret.New(key), nil
}

func (k *fileKEK) resolve(context.Context, uuid.UUID) (string, error) { return k.id, nil }

func (k *fileKEK) holds(w Wrapped) bool { return w.KEKID == k.id }

func (k *fileKEK) note() string {
	return k.uri + " is a key file: anybody who can wrap with it can unwrap too, so ingest could open what it seals. " +
		"Use awskms:// where that matters."
}
