package kmsserver

import (
	"crypto/rand"

	"cloakroom/internal/sandbox/awswire"
)

const (
	symmetric          = "SYMMETRIC_DEFAULT"
	maxPlaintext       = 4096
	maxCiphertext      = 6144
	maxDataKey         = 1024
	maxContextBytes    = 8192
	reservedContextKey = "aws:"
)

type dataKeyRequest struct {
	KeyID         string            `json:"KeyId"`
	KeySpec       string            `json:"KeySpec"`
	NumberOfBytes *int              `json:"NumberOfBytes"`
	Context       map[string]string `json:"EncryptionContext"`
	DryRun        bool              `json:"DryRun"`
	Recipient     map[string]any    `json:"Recipient"`
}

// size of the data key that was asked for: one of KeySpec and NumberOfBytes, not both.
func (r *dataKeyRequest) size() (int, error) {
	switch {
	case (r.KeySpec == "") == (r.NumberOfBytes == nil):
		return 0, ErrValidation.Because("Please specify either number of bytes or key spec.")
	case r.KeySpec == "AES_256":
		return 32, nil
	case r.KeySpec == "AES_128":
		return 16, nil
	case r.NumberOfBytes == nil:
		return 0, invalid(
			"Value '%s' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: "+
				"[AES_256, AES_128]",
			r.KeySpec)
	case *r.NumberOfBytes < 1 || *r.NumberOfBytes > maxDataKey:
		return 0, invalid(
			"Value '%d' at 'numberOfBytes' failed to satisfy constraint: Member must have value between 1 and 1024",
			*r.NumberOfBytes)
	}
	return *r.NumberOfBytes, nil
}

type dataKeyAnswer struct {
	CiphertextBlob []byte `json:"CiphertextBlob"`
	Plaintext      []byte `json:"Plaintext"`
	KeyID          string `json:"KeyId"`
}

func (s *Server) generateDataKey(c *awswire.Call) error {
	var in dataKeyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.sealingKey(c, "keyId", in.KeyID, in.Context)
	if err != nil {
		return err
	}
	size, err := in.size()
	if err != nil {
		return err
	}
	if in.Recipient != nil {
		return errNoRecipients
	}
	if in.DryRun {
		return ErrDryRun
	}
	plaintext := make([]byte, size)
	rand.Read(plaintext) // never fails
	defer clear(plaintext)
	blob, err := k.seal(plaintext, in.Context)
	if err != nil {
		return err
	}
	return c.Encode(dataKeyAnswer{CiphertextBlob: blob, Plaintext: plaintext, KeyID: s.arn(k)})
}

func (s *Server) encrypt(c *awswire.Call) error {
	var in struct {
		KeyID     string            `json:"KeyId"`
		Plaintext []byte            `json:"Plaintext"`
		Algorithm string            `json:"EncryptionAlgorithm"`
		Context   map[string]string `json:"EncryptionContext"`
		DryRun    bool              `json:"DryRun"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.sealingKey(c, "keyId", in.KeyID, in.Context)
	if err != nil {
		return err
	}
	if n := len(in.Plaintext); n < 1 || n > maxPlaintext {
		return invalid("Value at 'plaintext' failed to satisfy constraint: Member must have length between 1 and 4096")
	}
	if or(in.Algorithm, symmetric) != symmetric {
		return errAlgorithm
	}
	if in.DryRun {
		return ErrDryRun
	}
	blob, err := k.seal(in.Plaintext, in.Context)
	if err != nil {
		return err
	}
	return c.Encode(struct {
		CiphertextBlob []byte `json:"CiphertextBlob"`
		KeyID          string `json:"KeyId"`
		Algorithm      string `json:"EncryptionAlgorithm"`
	}{blob, s.arn(k), symmetric})
}

func (s *Server) decrypt(c *awswire.Call) error {
	var in struct {
		KeyID          string            `json:"KeyId"`
		CiphertextBlob []byte            `json:"CiphertextBlob"`
		Algorithm      string            `json:"EncryptionAlgorithm"`
		Context        map[string]string `json:"EncryptionContext"`
		DryRun         bool              `json:"DryRun"`
		Recipient      map[string]any    `json:"Recipient"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.openingKey(c, in.KeyID, in.CiphertextBlob, in.Context)
	if err != nil {
		return err
	}
	if or(in.Algorithm, symmetric) != symmetric {
		return errAlgorithm
	}
	if in.Recipient != nil {
		return errNoRecipients
	}
	if in.DryRun {
		return ErrDryRun
	}
	plaintext, err := k.open(in.CiphertextBlob, in.Context)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	return c.Encode(struct {
		Plaintext []byte `json:"Plaintext"`
		KeyID     string `json:"KeyId"`
		Algorithm string `json:"EncryptionAlgorithm"`
	}{plaintext, s.arn(k), symmetric})
}

func (s *Server) reEncrypt(c *awswire.Call) error {
	var in struct {
		CiphertextBlob       []byte            `json:"CiphertextBlob"`
		SourceKeyID          string            `json:"SourceKeyId"`
		SourceContext        map[string]string `json:"SourceEncryptionContext"`
		SourceAlgorithm      string            `json:"SourceEncryptionAlgorithm"`
		DestinationKeyID     string            `json:"DestinationKeyId"`
		DestinationContext   map[string]string `json:"DestinationEncryptionContext"`
		DestinationAlgorithm string            `json:"DestinationEncryptionAlgorithm"`
		DryRun               bool              `json:"DryRun"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	from, err := s.openingKey(c, in.SourceKeyID, in.CiphertextBlob, in.SourceContext)
	if err != nil {
		return err
	}
	to, err := s.sealingKey(c, "destinationKeyId", in.DestinationKeyID, in.DestinationContext)
	if err != nil {
		return err
	}
	if or(in.SourceAlgorithm, symmetric) != symmetric || or(in.DestinationAlgorithm, symmetric) != symmetric {
		return errAlgorithm
	}
	if in.DryRun {
		return ErrDryRun
	}
	plaintext, err := from.open(in.CiphertextBlob, in.SourceContext)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	blob, err := to.seal(plaintext, in.DestinationContext)
	if err != nil {
		return err
	}
	return c.Encode(struct {
		CiphertextBlob       []byte `json:"CiphertextBlob"`
		SourceKeyID          string `json:"SourceKeyId"`
		KeyID                string `json:"KeyId"`
		SourceAlgorithm      string `json:"SourceEncryptionAlgorithm"`
		DestinationAlgorithm string `json:"DestinationEncryptionAlgorithm"`
	}{blob, s.arn(from), s.arn(to), symmetric, symmetric})
}
