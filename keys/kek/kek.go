// Package kek reaches key-encryption keys: AWS KMS keys (awskms:///alias/cloakroom) and key files
// (file:///etc/cloakroom/kek).
//
// Call [Open] with the URIs that the operator named, then the methods of [Set]. A KEK never leaves
// its place: it wraps and unwraps 256-bit keys. Each wrapped key is bound to a [Binding], which
// says what the key is for, and unwraps under no other. KMS logs the binding in clear, so it holds
// no personal data.
package kek

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"cloakroom/internal/secret"
)

// KeySize is the size of a data key and of an index key, in bytes.
const KeySize = 32

// Errors that callers act on. Each is wrapped with what was attempted.
var (
	// ErrUnavailable: the KEK cannot be reached now (network, throttling, an internal error). Try
	// again later.
	ErrUnavailable = errors.New("the KEK cannot be reached")
	// ErrDenied: the credentials may not do this.
	ErrDenied = errors.New("the KEK refuses these credentials")
	// ErrDisabled: the KEK is disabled or pending deletion.
	ErrDisabled = errors.New("the KEK is disabled or pending deletion")
	// ErrNotFound: KMS knows no key or alias of that name: the name is wrong, or the key is gone.
	ErrNotFound = errors.New("there is no such KEK")
	// ErrUnwrap: the wrapped key is damaged, or was wrapped under another KEK or another binding.
	ErrUnwrap = errors.New("the wrapped key does not unwrap: it is damaged, or was wrapped under another KEK or " +
		"binding")
	// ErrNotConfigured: the key was wrapped under a KEK that this process was not given.
	ErrNotConfigured = errors.New("the KEK is not among those configured")
)

// IsUnavailable reports an error of the KEK itself, not of a wrapped key: it is away, refuses, is
// disabled, is not there or was not named.
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

// Binding is what a wrapped key is bound to: KMS's encryption context, or a key file's associated
// data.
type Binding struct {
	Vault   uuid.UUID
	Purpose Purpose
	Key     uint32 // a data key's id, or an index key's version
}

// Map is the binding as KMS takes it.
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

// Wrapped is a wrapped key as the vault stores it.
type Wrapped struct {
	KEK   string // the URI of the KEK, as configured when it wrapped the key
	KEKID string // the KEK's own name: a KMS key's ARN, or an id derived from a key file's key
	Blob  []byte
}

// Provider is one KEK: all that sealing and opening need. The interfaces below are abilities that a
// provider may have, too.
type Provider interface {
	// GenerateDataKey makes a new 256-bit key: in clear, to use now, and wrapped, to store.
	GenerateDataKey(ctx context.Context, b Binding) (secret.Bytes, Wrapped, error)
	// Unwrap gives back the key. It fails with ErrUnwrap unless b is the binding it was wrapped
	// with.
	Unwrap(ctx context.Context, w Wrapped, b Binding) (secret.Bytes, error)
}

// resolver says which key its URI names now, by the key's own name.
type resolver interface {
	resolve(ctx context.Context, vault uuid.UUID) (id string, err error)
}

// holder knows the keys that it wrapped. One that does not is never asked to unwrap.
type holder interface {
	holds(w Wrapped) bool
}

// wrapper can wrap a key made elsewhere: keys can be moved to it.
type wrapper interface {
	wrap(ctx context.Context, key secret.Bytes, b Binding) (Wrapped, error)
}

// reEncrypter can move a key here from some other providers without its plaintext passing through
// this process. It reports false for a provider from which it cannot.
type reEncrypter interface {
	reEncrypt(ctx context.Context, from Provider, w Wrapped, b Binding) (moved Wrapped, can bool, err error)
}

// noter has something that an operator should know.
type noter interface {
	note() string
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
		return nil, errors.New("no KEK is configured: set CLOAKROOM_KEK or --kek to awskms:///alias/NAME or " +
			"file:///PATH (keys kek generate makes such a file)")
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

// scheme is the part of a URI that is safe to show: the rest may be a key pasted by mistake.
func scheme(uri string) string {
	before, _, found := strings.Cut(uri, "://")
	if !found || len(before) > 16 {
		return "…"
	}
	return before + "://"
}

// Current is the URI that wraps new keys.
func (s *Set) Current() string { return s.uris[0] }

// Resolve is the id of the KEK at a URI of the set: the ARN of the KMS key that an alias names now, or the key file's
// fingerprint. KMS is asked for a data key, which is thrown away: every role that may wrap has the right to that.
func (s *Set) Resolve(ctx context.Context, uri string, vault uuid.UUID) (string, error) {
	at := slices.Index(s.uris, uri)
	if at < 0 {
		return "", fmt.Errorf("looking up the KEK %s: %w", uri, ErrNotConfigured)
	}
	r, ok := s.providers[at].(resolver)
	if !ok {
		return "", fmt.Errorf("looking up the KEK %s: that kind of KEK has no name of its own", uri)
	}
	id, err := r.resolve(ctx, vault)
	s.observe("Resolve", err)
	return id, err
}

// GenerateDataKey makes a new key under the current KEK.
func (s *Set) GenerateDataKey(ctx context.Context, b Binding) (secret.Bytes, Wrapped, error) {
	key, w, err := s.providers[0].GenerateDataKey(ctx, b)
	s.observe("GenerateDataKey", err)
	return key, w, err
}

// Unwrap unwraps a key under the configured KEK that wrapped it, or returns ErrNotConfigured. The
// vault's word for a KEK is never followed to one that the operator did not name.
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
	return nil, fmt.Errorf("unwrapping %s: it is wrapped under %s (%s): %w: add that URI to CLOAKROOM_KEK, after "+
		"the current one and a comma", b, w.KEK, w.KEKID, ErrNotConfigured)
}

// Rewrap wraps a key under the KEK at the URI to, one of the set. Between two KMS keys the
// plaintext never leaves KMS. Otherwise it passes through this process's memory and is zeroed.
func (s *Set) Rewrap(ctx context.Context, w Wrapped, b Binding, to string) (Wrapped, error) {
	rewrapped, err := s.rewrap(ctx, w, b, to)
	s.observe("Rewrap", err)
	return rewrapped, err
}

func (s *Set) rewrap(ctx context.Context, w Wrapped, b Binding, to string) (Wrapped, error) {
	at := slices.Index(s.uris, to)
	if at < 0 {
		return Wrapped{}, fmt.Errorf("rewrapping %s under %s: %w", b, to, ErrNotConfigured)
	}
	target := s.providers[at]
	source, err := s.provider(w, b)
	if err != nil {
		return Wrapped{}, err
	}
	if t, ok := target.(reEncrypter); ok {
		if moved, can, err := t.reEncrypt(ctx, source, w, b); can {
			return moved, err
		}
	}
	into, ok := target.(wrapper)
	if !ok {
		return Wrapped{}, fmt.Errorf("rewrapping %s under %s: that KEK wraps only keys that it makes", b, to)
	}
	key, err := source.Unwrap(ctx, w, b)
	if err != nil {
		return Wrapped{}, err
	}
	defer key.Destroy()
	return into.wrap(ctx, key, b)
}

// Notes are what an operator should know about the configured KEKs, a line each.
func (s *Set) Notes() []string {
	var notes []string
	for _, p := range s.providers {
		if n, ok := p.(noter); ok {
			notes = append(notes, n.note())
		}
	}
	return notes
}
