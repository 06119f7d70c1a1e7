package auditlog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a signed statement about the log: its number of leaves and its root.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	Note   []byte // signed, as it is kept
}

// Origin names a vault's log; its checkpoints begin with it, and its signing key bears it.
func Origin(vault uuid.UUID) string { return "cloakroom/" + vault.String() }

// GenerateKey makes a signing key for a vault's log: the secret one, for a file that only the
// witness reads, and the public one, for those who verify.
func GenerateKey(vault uuid.UUID) (secretKey, publicKey string, err error) {
	return note.GenerateKey(nil, Origin(vault))
}

// ReadSigner reads a secret key file. Its text is in no error.
func ReadSigner(path string) (note.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %s holds none (recover log keygen makes one)", path)
	}
	return signer, nil
}

// ReadVerifier reads a public key file.
func ReadVerifier(path string) (note.Verifier, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("reading the public key %s: %w", path, err)
	}
	return verifier, nil
}

// sign makes a signed checkpoint: origin, size in decimal and root in base64, a line each.
func sign(signer note.Signer, size int64, root tlog.Hash) (Checkpoint, error) {
	c := Checkpoint{Origin: signer.Name(), Size: size, Root: root}
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", c.Origin, size, root)}, signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("signing the checkpoint: %w", err)
	}
	c.Note = signed
	return c, nil
}

var errCheckpoint = errors.New("it is not an origin, a size and a root, a line each")

// ParseCheckpoint checks a checkpoint's signature and reads it. An error wraps ErrInvalid: a
// checkpoint that does not verify is no evidence of anything good.
func ParseCheckpoint(signed []byte, key note.Verifier) (Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint: %w", ErrInvalid, err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != key.Name() {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint: %w", ErrInvalid, errCheckpoint)
	}
	c := Checkpoint{Origin: lines[0], Note: signed}
	c.Size, err = strconv.ParseInt(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	canonical := c.Size >= 0 && lines[1] == strconv.FormatInt(c.Size, 10)
	if err != nil || err2 != nil || !canonical || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint: %w", ErrInvalid, errCheckpoint)
	}
	c.Root = tlog.Hash(root)
	return c, nil
}
