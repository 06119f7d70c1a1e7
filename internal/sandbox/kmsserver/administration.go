package kmsserver

import (
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// metadata of a key as KMS tells it.
type metadata struct {
	AccountID     string   `json:"AWSAccountId"`
	Arn           string   `json:"Arn"`
	KeyID         string   `json:"KeyId"`
	CreationDate  epoch    `json:"CreationDate"`
	Enabled       bool     `json:"Enabled"`
	KeyState      string   `json:"KeyState"`
	KeyUsage      string   `json:"KeyUsage"`
	KeySpec       string   `json:"KeySpec"`
	MasterKeySpec string   `json:"CustomerMasterKeySpec"`
	KeyManager    string   `json:"KeyManager"`
	Origin        string   `json:"Origin"`
	MultiRegion   bool     `json:"MultiRegion"`
	Algorithms    []string `json:"EncryptionAlgorithms"`
}

// epoch is a time as the protocol has it: seconds since 1970.
type epoch float64

func toEpoch(t time.Time) epoch { return epoch(t.UnixMilli()) / 1000 }

func (s *Server) metadata(k *key) metadata {
	return metadata{
		AccountID: s.config.Account, Arn: s.arn(k), KeyID: k.id, CreationDate: toEpoch(k.created),
		Enabled: !k.disabled, KeyState: k.state(), KeyUsage: "ENCRYPT_DECRYPT",
		KeySpec: symmetric, MasterKeySpec: symmetric, Algorithms: []string{symmetric},
		KeyManager: "CUSTOMER", Origin: "AWS_KMS",
	}
}

type metadataAnswer struct {
	KeyMetadata metadata `json:"KeyMetadata"`
}

func (s *Server) createKey(c *awswire.Call) error {
	var in struct {
		KeySpec       string `json:"KeySpec"`
		MasterKeySpec string `json:"CustomerMasterKeySpec"`
		KeyUsage      string `json:"KeyUsage"`
		Origin        string `json:"Origin"`
		MultiRegion   bool   `json:"MultiRegion"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := s.authorise(c, nil, nil); err != nil {
		return err
	}
	if or(or(in.KeySpec, in.MasterKeySpec), symmetric) != symmetric ||
		or(in.KeyUsage, "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT" ||
		or(in.Origin, "AWS_KMS") != "AWS_KMS" ||
		in.MultiRegion {
		return errSymmetricOnly
	}
	k := s.newKey()
	c.Note.(*detail).touches(s.arn(k))
	if err := s.save(); err != nil {
		return err
	}
	return c.Encode(metadataAnswer{s.metadata(k)})
}

type keyRequest struct {
	KeyID string `json:"KeyId"`
}

func (s *Server) describeKey(c *awswire.Call) error {
	var in keyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	return c.Encode(metadataAnswer{s.metadata(k)})
}

func (s *Server) enableKey(c *awswire.Call) error  { return s.setDisabled(c, false) }
func (s *Server) disableKey(c *awswire.Call) error { return s.setDisabled(c, true) }

func (s *Server) setDisabled(c *awswire.Call, disabled bool) error {
	var in keyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	k.disabled = disabled
	if err := s.save(); err != nil {
		return err
	}
	c.EncodeEmpty()
	return nil
}
