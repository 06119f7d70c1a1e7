package kmsserver

import (
	"maps"
	"slices"
	"time"

	"cloakroom/internal/sandbox/awswire"
)

// metadata of a key as KMS tells it.
type metadata struct {
	AccountID       string   `json:"AWSAccountId"`
	Arn             string   `json:"Arn"`
	KeyID           string   `json:"KeyId"`
	CreationDate    epoch    `json:"CreationDate"`
	DeletionDate    epoch    `json:"DeletionDate,omitzero"`
	Description     string   `json:"Description"`
	Enabled         bool     `json:"Enabled"`
	KeyState        string   `json:"KeyState"`
	KeyUsage        string   `json:"KeyUsage"`
	KeySpec         string   `json:"KeySpec"`
	MasterKeySpec   string   `json:"CustomerMasterKeySpec"`
	KeyManager      string   `json:"KeyManager"`
	Origin          string   `json:"Origin"`
	MultiRegion     bool     `json:"MultiRegion"`
	Algorithms      []string `json:"EncryptionAlgorithms"`
	CurrentMaterial string   `json:"CurrentKeyMaterialId"`
}

// epoch is a time as the protocol has it: seconds since 1970.
type epoch float64

func toEpoch(t time.Time) epoch {
	if t.IsZero() {
		return 0
	}
	return epoch(t.UnixMilli()) / 1000
}

func (s *Server) metadata(k *key) metadata {
	return metadata{
		AccountID: s.config.Account, Arn: s.arn(k), KeyID: k.id, CreationDate: toEpoch(k.created), DeletionDate: toEpoch(k.deletion),
		Description: k.description, Enabled: k.state() == "Enabled", KeyState: k.state(), KeyUsage: "ENCRYPT_DECRYPT",
		KeySpec: symmetric, MasterKeySpec: symmetric, KeyManager: "CUSTOMER", Origin: "AWS_KMS", Algorithms: []string{symmetric},
		CurrentMaterial: k.current().id,
	}
}

type metadataAnswer struct {
	KeyMetadata metadata `json:"KeyMetadata"`
}

func (s *Server) createKey(c *awswire.Call) error {
	var in struct {
		Description   string `json:"Description"`
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
	if or(or(in.KeySpec, in.MasterKeySpec), symmetric) != symmetric || or(in.KeyUsage, "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT" ||
		or(in.Origin, "AWS_KMS") != "AWS_KMS" || in.MultiRegion {
		return errSymmetricOnly
	}
	k := s.newKey(in.Description)
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

func (s *Server) listKeys(c *awswire.Call) error {
	if err := s.authorise(c, nil, nil); err != nil {
		return err
	}
	type entry struct {
		KeyID string `json:"KeyId"`
		Arn   string `json:"KeyArn"`
	}
	list := []entry{}
	for _, id := range slices.Sorted(maps.Keys(s.keys)) {
		if k := s.keyByID(id); k != nil {
			list = append(list, entry{k.id, s.arn(k)})
		}
	}
	return c.Encode(struct {
		Keys      []entry `json:"Keys"`
		Truncated bool    `json:"Truncated"`
	}{list, false})
}

// change reads a request for a key, changes the key and saves it; the answer is empty.
func (s *Server) change(c *awswire.Call, do func(*key) error) error {
	var in keyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	if err := do(k); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	c.EncodeEmpty()
	return nil
}

func (s *Server) enableKey(c *awswire.Call) error  { return s.setDisabled(c, false) }
func (s *Server) disableKey(c *awswire.Call) error { return s.setDisabled(c, true) }

func (s *Server) setDisabled(c *awswire.Call, disabled bool) error {
	return s.change(c, func(k *key) error {
		if !k.deletion.IsZero() {
			return s.usable(k)
		}
		k.disabled = disabled
		return nil
	})
}

const (
	minDeletionDays     = 7
	defaultDeletionDays = 30
)

func (s *Server) scheduleKeyDeletion(c *awswire.Call) error {
	var in struct {
		keyRequest
		Days *int `json:"PendingWindowInDays"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	days := defaultDeletionDays
	if in.Days != nil {
		days = *in.Days
	}
	if days < minDeletionDays || days > defaultDeletionDays {
		return invalid("Value '%d' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value between 7 and 30", days)
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	if !k.deletion.IsZero() {
		return s.usable(k)
	}
	k.deletion = s.config.Now().AddDate(0, 0, days)
	if err := s.save(); err != nil {
		return err
	}
	return c.Encode(struct {
		KeyID        string `json:"KeyId"`
		DeletionDate epoch  `json:"DeletionDate"`
		KeyState     string `json:"KeyState"`
		Days         int    `json:"PendingWindowInDays"`
	}{s.arn(k), toEpoch(k.deletion), k.state(), days})
}

// cancelKeyDeletion leaves the key disabled, as AWS does.
func (s *Server) cancelKeyDeletion(c *awswire.Call) error {
	var in keyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	if k.deletion.IsZero() {
		return ErrInvalidState.Because(s.arn(k) + " is not pending deletion.")
	}
	k.deletion, k.disabled = time.Time{}, true
	if err := s.save(); err != nil {
		return err
	}
	return c.Encode(keyRequest{s.arn(k)})
}
