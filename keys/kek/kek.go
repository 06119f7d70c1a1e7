// Package kek reaches key-encryption keys: AWS KMS keys (awskms:///alias/cloakroom) and key files
// (file:///etc/cloakroom/kek).
//
// A KEK never leaves its place. Here it wraps and unwraps 256-bit keys under an encryption context that says what
// each key is for; the context is authenticated, and KMS logs it in the clear, so it holds no personal data.
package kek

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"cloakroom/internal/secret"
)

// KeySize is the size of a data key and of an index key, in bytes.
const KeySize = 32

// Errors that callers act on. Each is wrapped with what was attempted.
var (
	// ErrUnavailable: the KEK cannot be reached now (network, throttling, an internal error): try again.
	ErrUnavailable = errors.New("the KEK cannot be reached")
	// ErrDenied: the credentials may not do this.
	ErrDenied = errors.New("the KEK refuses these credentials")
	// ErrDisabled: the KEK is disabled or pending deletion.
	ErrDisabled = errors.New("the KEK is disabled or pending deletion")
	// ErrNotFound: KMS knows no key or alias of that name: the name is wrong, or the key is gone.
	ErrNotFound = errors.New("there is no such KEK")
	// ErrUnwrap: the wrapped key is damaged, or was wrapped under another KEK or another context.
	ErrUnwrap = errors.New("the wrapped key does not unwrap: it is damaged, or was wrapped under another KEK or context")
	// ErrNotConfigured: the key was wrapped under a KEK that this process was not given.
	ErrNotConfigured = errors.New("the KEK is not among those configured")
)

// IsUnavailable reports an error of the KEK itself, not of a wrapped key: it is away, refuses, is disabled, is not there or was not named.
func IsUnavailable(err error) bool {
	for _, e := range []error{ErrUnavailable, ErrDenied, ErrDisabled, ErrNotFound, ErrNotConfigured} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Purpose says what a key is for; IAM policies tell roles apart by it.
type Purpose string

// The purposes of a key.
const (
	Seal  Purpose = "seal"  // a data key
	Index Purpose = "index" // an index key
)

// Binding is the encryption context of one key.
type Binding struct {
	Vault   uuid.UUID
	Purpose Purpose
	Key     uint32 // a data key's id, or an index key's version
}

// Map is the context as KMS takes it.
func (b Binding) Map() map[string]string {
	return map[string]string{
		"app":     "cloakroom",
		"vault":   b.Vault.String(),
		"purpose": string(b.Purpose),
		"key":     strconv.FormatUint(uint64(b.Key), 10),
	}
}

func (b Binding) String() string {
	if b.Purpose == Index {
		return fmt.Sprintf("index key v%d", b.Key)
	}
	return fmt.Sprintf("data key %d", b.Key)
}

// Wrapped is a key as it rests in the vault.
type Wrapped struct {
	KEK   string // the URI it was wrapped under, as configured then
	KEKID string // what the KEK says of itself: a KMS key's ARN, or a key file's fingerprint
	Blob  []byte
}

// Provider is one KEK.
type Provider interface {
	// GenerateDataKey makes a new 256-bit key: in the clear, for use now, and wrapped, to be kept.
	GenerateDataKey(ctx context.Context, b Binding) (secret.Bytes, Wrapped, error)
	// Unwrap gives back the key. It fails with ErrUnwrap unless c is the context it was wrapped with.
	Unwrap(ctx context.Context, w Wrapped, b Binding) (secret.Bytes, error)
}

// wrapper is a provider that can wrap a key made elsewhere.
type wrapper interface {
	wrap(ctx context.Context, key secret.Bytes, b Binding) (Wrapped, error)
}

// holder tells whether a provider is the one that a key was wrapped under.
type holder interface {
	holds(w Wrapped) bool
}

// Observer is told of each operation on a KEK, for metrics: GenerateDataKey, Unwrap, Rewrap.
type Observer interface {
	KEKRequest(operation string, err error)
}

// Set is the KEKs that a process was given: the first wraps new keys, all unwrap.
type Set struct {
	uris      []string
	providers []Provider
	// Observe, if not nil, is told of each operation. It is set before the set is used.
	Observe Observer
}

func (s *Set) observe(operation string, err error) {
	if s.Observe != nil {
		s.Observe.KEKRequest(operation, err)
	}
}

// Open opens the KEKs of a comma-separated list of URIs.
func Open(ctx context.Context, uris string) (*Set, error) {
	s := &Set{}
	for uri := range strings.SplitSeq(uris, ",") {
		uri = strings.TrimSpace(uri)
		if uri == "" {
			continue
		}
		p, err := open(ctx, uri)
		if err != nil {
			return nil, err
		}
		s.uris, s.providers = append(s.uris, uri), append(s.providers, p)
	}
	if len(s.providers) == 0 {
		return nil, errors.New("no KEK is configured: set CLOAKROOM_KEK or --kek to awskms:///alias/NAME or file:///PATH (keys kek generate makes such a file)")
	}
	return s, nil
}

func open(ctx context.Context, uri string) (Provider, error) {
	switch {
	case strings.HasPrefix(uri, "file://"):
		return openFile(uri)
	case strings.HasPrefix(uri, "awskms:///"):
		return openKMS(ctx, uri)
	}
	return nil, fmt.Errorf("opening KEK: a URI starts with awskms:/// or file:///, not %q", scheme(uri))
}

// scheme is the part of a URI that is safe to show when it may be a key pasted by mistake.
func scheme(uri string) string {
	before, _, found := strings.Cut(uri, "://")
	if !found || len(before) > 16 {
		return "…"
	}
	return before + "://"
}

// Current is the URI that wraps new keys.
func (s *Set) Current() string { return s.uris[0] }

// GenerateDataKey makes a new key under the current KEK.
func (s *Set) GenerateDataKey(ctx context.Context, b Binding) (secret.Bytes, Wrapped, error) {
	key, w, err := s.providers[0].GenerateDataKey(ctx, b)
	s.observe("GenerateDataKey", err)
	return key, w, err
}

// Unwrap unwraps a key under whichever configured KEK it was wrapped with. It returns ErrNotConfigured where none is:
// what the vault says of a KEK is never followed to one that the operator did not name.
func (s *Set) Unwrap(ctx context.Context, w Wrapped, b Binding) (secret.Bytes, error) {
	p, err := s.provider(w, b)
	if err != nil {
		return secret.Bytes{}, err
	}
	key, err := p.Unwrap(ctx, w, b)
	s.observe("Unwrap", err)
	return key, err
}

func (s *Set) provider(w Wrapped, b Binding) (Provider, error) {
	for _, p := range s.providers {
		if h, ok := p.(holder); ok && h.holds(w) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("unwrapping %s: it is wrapped under %s (%s): %w: add that URI to CLOAKROOM_KEK, after the current one and a comma", b, w.KEK, w.KEKID, ErrNotConfigured)
}

// Rewrap wraps a key under the KEK at the URI to, one of the set. Between two KMS keys the plaintext never leaves
// KMS; otherwise it passes through this process's memory and is zeroed.
func (s *Set) Rewrap(ctx context.Context, w Wrapped, b Binding, to string) (Wrapped, error) {
	rewrapped, err := s.rewrap(ctx, w, b, to)
	s.observe("Rewrap", err)
	return rewrapped, err
}

func (s *Set) rewrap(ctx context.Context, w Wrapped, b Binding, to string) (Wrapped, error) {
	var target Provider
	for i, uri := range s.uris {
		if uri == to {
			target = s.providers[i]
		}
	}
	if target == nil {
		return Wrapped{}, fmt.Errorf("rewrapping %s under %s: %w", b, to, ErrNotConfigured)
	}
	source, err := s.provider(w, b)
	if err != nil {
		return Wrapped{}, err
	}
	if from, ok := source.(*kmsKEK); ok {
		if into, ok := target.(*kmsKEK); ok {
			return into.reEncrypt(ctx, from, w, b)
		}
	}
	key, err := source.Unwrap(ctx, w, b)
	if err != nil {
		return Wrapped{}, err
	}
	defer key.Destroy()
	return target.(wrapper).wrap(ctx, key, b)
}

// Notes says what an operator should know of the configured KEKs, a line each.
func (s *Set) Notes() []string {
	var notes []string
	for i, p := range s.providers {
		if _, ok := p.(*fileKEK); ok {
			notes = append(notes, fmt.Sprintf("%s is a key file: whoever can wrap with it can unwrap too, so ingest could open what it seals. Use awskms:// where that matters.", s.uris[i]))
		}
	}
	return notes
}
