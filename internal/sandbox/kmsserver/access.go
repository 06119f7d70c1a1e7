package kmsserver

import (
	"strings"

	"cloakroom/internal/sandbox/awswire"
)

// sealingKey finds the key that new ciphertext is made under. It must be allowed and usable.
func (s *Server) sealingKey(c *awswire.Call, member, name string, context map[string]string) (*key, error) {
	note := c.Note.(*detail)
	note.seals(name, context)
	if err := checkContext(context); err != nil {
		return nil, err
	}
	k, err := s.resolve(member, name)
	if err != nil {
		return nil, err
	}
	note.touches(s.arn(k))
	if err := s.authorise(c, k, context); err != nil {
		return nil, err
	}
	return k, s.usable(k)
}

// openingKey finds the key that a ciphertext was made under. If the caller named a key, it must be that one.
func (s *Server) openingKey(c *awswire.Call, name string, blob []byte, context map[string]string) (*key, error) {
	note := c.Note.(*detail)
	note.opens(name, context)
	if err := checkContext(context); err != nil {
		return nil, err
	}
	if n := len(blob); n < 1 || n > maxCiphertext {
		return nil, invalid(
			"Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length between 1 and 6144")
	}
	id, ok := keyOf(blob)
	k := s.keys[id]
	if name != "" {
		named, err := s.resolve("keyId", name)
		if err != nil {
			return nil, err
		}
		note.touches(s.arn(named))
		if err := s.authorise(c, named, context); err != nil {
			return nil, err
		}
		if ok && named != k {
			return nil, ErrIncorrectKey
		}
		k = named
	}
	if !ok {
		return nil, ErrInvalidCiphertext
	}
	if k == nil {
		return nil, errCiphertextOfElsewhere
	}
	note.touches(s.arn(k))
	if err := s.authorise(c, k, context); err != nil {
		return nil, err
	}
	return k, s.usable(k)
}

// administered finds a key for an operation that has no encryption context, and so no purpose.
func (s *Server) administered(c *awswire.Call, name string) (*key, error) {
	c.Note.(*detail).names(name)
	k, err := s.resolve("keyId", name)
	if err != nil {
		return nil, err
	}
	c.Note.(*detail).touches(s.arn(k))
	return k, s.authorise(c, k, nil)
}

// authorise refuses a call that the access key's policy does not allow for the purpose in the encryption context.
func (s *Server) authorise(c *awswire.Call, k *key, context map[string]string) error {
	if s.policies == nil || s.policies[c.AccessKey].allows(c.Op, context["purpose"]) {
		return nil
	}
	on := ""
	if k != nil {
		on = " on resource: " + s.arn(k)
	}
	return ErrAccessDenied.Because(
		"User: " + s.userARN(c.AccessKey) + " is not authorized to perform: kms:" + c.Op + on +
			" because no identity-based policy allows the kms:" + c.Op + " action",
	)
}

func (s *Server) userARN(accessKey string) string {
	return "arn:aws:iam::" + s.config.Account + ":user/" + accessKey
}

func checkContext(context map[string]string) error {
	size := 0
	for name, value := range context {
		size += len(name) + len(value)
		if name == "" || strings.HasPrefix(name, reservedContextKey) {
			return ErrValidation.Because("The encryption context's key '" + name + "' is not allowed.")
		}
	}
	if size > maxContextBytes {
		return ErrValidation.Because("The encryption context is larger than 8192 bytes.")
	}
	return nil
}
