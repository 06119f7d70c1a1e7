package kmsserver

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/secret"
)

// key is one symmetric KMS key.
type key struct {
	id           string
	description  string
	created      time.Time
	disabled     bool
	deletion     time.Time     // zero: not scheduled
	rotateEvery  time.Duration // 0: not by itself
	nextRotation time.Time
	materials    []material // the last one is current
}

// material is one version of a key's bytes. Those that were current once stay, to open what they sealed.
type material struct {
	id       string // 64 hex digits, as AWS's
	key      secret.Bytes
	created  time.Time
	onDemand bool
}

const materialBytes = 32

func newMaterial(now time.Time, onDemand bool) material {
	b := make([]byte, materialBytes)
	rand.Read(b) // never fails
	a, z := awswire.NewID(), awswire.NewID()
	id := strings.ReplaceAll(a.String()+z.String(), "-", "")
	return material{id: id, key: secret.New(b), created: now, onDemand: onDemand}
}

type alias struct {
	target           string // key id
	created, updated time.Time
}

func (s *Server) newKey(description string) *key {
	now := s.config.Now()
	k := &key{id: uuid.NewString(), description: description, created: now, materials: []material{newMaterial(now, false)}}
	s.keys[k.id] = k
	return k
}

func (k *key) current() *material { return &k.materials[len(k.materials)-1] }

func (s *Server) arnPrefix() string {
	return "arn:aws:kms:" + s.config.Region + ":" + s.config.Account + ":"
}

func (s *Server) arn(k *key) string { return s.arnPrefix() + "key/" + k.id }

// resolve finds a key by its id, its ARN, an alias or an alias's ARN.
func (s *Server) resolve(member, name string) (*key, error) {
	if name == "" {
		return nil, missing(member)
	}
	local := name
	if strings.HasPrefix(name, "arn:") {
		var ours bool
		if local, ours = strings.CutPrefix(name, s.arnPrefix()); !ours {
			return nil, ErrNotFound.Because("Invalid arn " + name)
		}
		local = strings.TrimPrefix(local, "key/")
	}
	if strings.HasPrefix(local, "alias/") {
		a := s.aliases[local]
		if a == nil {
			return nil, ErrNotFound.Because("Alias " + s.arnPrefix() + local + " is not found.")
		}
		local = a.target
	}
	if k := s.keyByID(local); k != nil {
		return k, nil
	}
	return nil, ErrNotFound.Because("Key '" + s.arnPrefix() + "key/" + local + "' does not exist")
}

// keyByID finds a key, unless the day of its deletion has come: then its bytes are destroyed first.
func (s *Server) keyByID(id string) *key {
	k := s.keys[id]
	if k == nil || k.deletion.IsZero() || s.config.Now().Before(k.deletion) {
		return k
	}
	for _, m := range k.materials {
		m.key.Destroy()
	}
	delete(s.keys, id)
	for name, a := range s.aliases {
		if a.target == id {
			delete(s.aliases, name)
		}
	}
	return nil
}

// usable refuses a key that is disabled or pending deletion.
func (s *Server) usable(k *key) error {
	switch {
	case !k.deletion.IsZero():
		return ErrInvalidState.Because(s.arn(k) + " is pending deletion.")
	case k.disabled:
		return ErrDisabled.Because(s.arn(k) + " is disabled.")
	}
	return nil
}

func (k *key) state() string {
	switch {
	case !k.deletion.IsZero():
		return "PendingDeletion"
	case k.disabled:
		return "Disabled"
	}
	return "Enabled"
}
