package kmsserver

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/secret"
)

// key is one symmetric KMS key.
type key struct {
	id       string // a UUID
	created  time.Time
	disabled bool
	material secret.Bytes
}

const materialBytes = 32

type alias struct {
	target           string // key id
	created, updated time.Time
}

func (s *Server) newKey() *key {
	b := make([]byte, materialBytes)
	rand.Read(b) // never fails
	k := &key{id: uuid.NewString(), created: s.config.Now(), material: secret.New(b)}
	s.keys[k.id] = k
	return k
}

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
	if k := s.keys[local]; k != nil {
		return k, nil
	}
	return nil, ErrNotFound.Because("Key '" + s.arnPrefix() + "key/" + local + "' does not exist")
}

// usable refuses a key that is disabled.
func (s *Server) usable(k *key) error {
	if k.disabled {
		return ErrDisabled.Because(s.arn(k) + " is disabled.")
	}
	return nil
}

func (k *key) state() string {
	if k.disabled {
		return "Disabled"
	}
	return "Enabled"
}
