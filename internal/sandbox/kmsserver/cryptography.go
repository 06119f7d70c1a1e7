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
		return 0, invalid("Value '%s' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_256, AES_128]", r.KeySpec)
	case *r.NumberOfBytes < 1 || *r.NumberOfBytes > maxDataKey:
		return 0, invalid("Value '%d' at 'numberOfBytes' failed to satisfy constraint: Member must have value between 1 and 1024", *r.NumberOfBytes)
	}
	return *r.NumberOfBytes, nil
}

type dataKeyAnswer struct {
	CiphertextBlob []byte `json:"CiphertextBlob"`
	Plaintext      []byte `json:"Plaintext,omitempty"`
	KeyID          string `json:"KeyId"`
	MaterialID     string `json:"KeyMaterialId"`
}

func (s *Server) generateDataKey(c *awswire.Call) error {
	out, err := s.newDataKey(c)
	if err != nil {
		return err
	}
	return c.Encode(out)
}

func (s *Server) generateDataKeyWithoutPlaintext(c *awswire.Call) error {
	out, err := s.newDataKey(c)
	if err != nil {
		return err
	}
	out.Plaintext = nil
	return c.Encode(out)
}

func (s *Server) newDataKey(c *awswire.Call) (dataKeyAnswer, error) {
	var in dataKeyRequest
	if err := c.Decode(&in); err != nil {
		return dataKeyAnswer{}, err
	}
	k, err := s.sealingKey(c, "keyId", in.KeyID, in.Context)
	if err != nil {
		return dataKeyAnswer{}, err
	}
	size, err := in.size()
	if err != nil {
		return dataKeyAnswer{}, err
	}
	if in.Recipient != nil {
		return dataKeyAnswer{}, ErrUnsupportedOperation.Because("This stand-in for KMS knows no attested recipients.")
	}
	if in.DryRun {
		return dataKeyAnswer{}, ErrDryRun
	}
	plaintext := make([]byte, size)
	rand.Read(plaintext) // never fails
	blob, err := k.seal(plaintext, in.Context)
	if err != nil {
		return dataKeyAnswer{}, err
	}
	return dataKeyAnswer{CiphertextBlob: blob, Plaintext: plaintext, KeyID: s.arn(k), MaterialID: k.current().id}, nil
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
		return ErrUnsupportedOperation.Because("This stand-in for KMS knows no attested recipients.")
	}
	if in.DryRun {
		return ErrDryRun
	}
	plaintext, m, err := k.open(in.CiphertextBlob, in.Context)
	if err != nil {
		return err
	}
	return c.Encode(struct {
		Plaintext  []byte `json:"Plaintext"`
		KeyID      string `json:"KeyId"`
		Algorithm  string `json:"EncryptionAlgorithm"`
		MaterialID string `json:"KeyMaterialId"`
	}{plaintext, s.arn(k), symmetric, m.id})
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
	plaintext, m, err := from.open(in.CiphertextBlob, in.SourceContext)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	blob, err := to.seal(plaintext, in.DestinationContext)
	if err != nil {
		return err
	}
	return c.Encode(struct {
		CiphertextBlob        []byte `json:"CiphertextBlob"`
		SourceKeyID           string `json:"SourceKeyId"`
		KeyID                 string `json:"KeyId"`
		SourceAlgorithm       string `json:"SourceEncryptionAlgorithm"`
		DestinationAlgorithm  string `json:"DestinationEncryptionAlgorithm"`
		SourceMaterialID      string `json:"SourceKeyMaterialId"`
		DestinationMaterialID string `json:"DestinationKeyMaterialId"`
	}{blob, s.arn(from), s.arn(to), symmetric, symmetric, m.id, to.current().id})
}
