package kmsserver

import (
	"time"

	"cloakroom/internal/sandbox/awswire"
)

const (
	day                 = 24 * time.Hour
	defaultRotationDays = 365
	minRotationDays     = 90
	maxRotationDays     = 2560
	maxOnDemand         = 25 // rotations on demand in a key's life
)

// rotateIfDue gives the key new material when its rotation period has passed. Several periods missed make one.
func (s *Server) rotateIfDue(k *key) error {
	now := s.config.Now()
	if k.rotateEvery == 0 || now.Before(k.nextRotation) {
		return nil
	}
	k.materials = append(k.materials, newMaterial(now, false))
	k.nextRotation = now.Add(k.rotateEvery)
	return s.save()
}

func (s *Server) rotateKeyOnDemand(c *awswire.Call) error {
	var in keyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	if err := s.usable(k); err != nil {
		return err
	}
	done := 0
	for _, m := range k.materials {
		if m.onDemand {
			done++
		}
	}
	if done >= maxOnDemand {
		return ErrLimitExceeded.Because("The number of on-demand rotations of the key is exhausted.")
	}
	k.materials = append(k.materials, newMaterial(s.config.Now(), true))
	if err := s.save(); err != nil {
		return err
	}
	return c.Encode(keyRequest{s.arn(k)})
}

func (s *Server) enableKeyRotation(c *awswire.Call) error {
	var in struct {
		Days *int `json:"RotationPeriodInDays"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	days := defaultRotationDays
	if in.Days != nil {
		days = *in.Days
	}
	if days < minRotationDays || days > maxRotationDays {
		return invalid("Value '%d' at 'rotationPeriodInDays' failed to satisfy constraint: Member must have value between 90 and 2560", days)
	}
	return s.change(c, func(k *key) error {
		if err := s.usable(k); err != nil {
			return err
		}
		k.rotateEvery = time.Duration(days) * day
		k.nextRotation = s.config.Now().Add(k.rotateEvery)
		return nil
	})
}

func (s *Server) disableKeyRotation(c *awswire.Call) error {
	return s.change(c, func(k *key) error {
		if err := s.usable(k); err != nil {
			return err
		}
		k.rotateEvery, k.nextRotation = 0, time.Time{}
		return nil
	})
}

func (s *Server) getKeyRotationStatus(c *awswire.Call) error {
	var in keyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	return c.Encode(struct {
		KeyID   string `json:"KeyId"`
		Enabled bool   `json:"KeyRotationEnabled"`
		Next    epoch  `json:"NextRotationDate,omitzero"`
		Days    int    `json:"RotationPeriodInDays,omitzero"`
	}{s.arn(k), k.rotateEvery > 0, toEpoch(k.nextRotation), int(k.rotateEvery / day)})
}

// listKeyRotations answers all rotations on one page, the oldest first. The first material was no rotation.
func (s *Server) listKeyRotations(c *awswire.Call) error {
	var in keyRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := s.administered(c, in.KeyID)
	if err != nil {
		return err
	}
	type entry struct {
		KeyID      string `json:"KeyId"`
		MaterialID string `json:"KeyMaterialId"`
		State      string `json:"KeyMaterialState"`
		Date       epoch  `json:"RotationDate"`
		Type       string `json:"RotationType"`
	}
	list := []entry{}
	for i := range k.materials[1:] {
		m := &k.materials[i+1]
		e := entry{s.arn(k), m.id, "NON_CURRENT", toEpoch(m.created), "AUTOMATIC"}
		if m == k.current() {
			e.State = "CURRENT"
		}
		if m.onDemand {
			e.Type = "ON_DEMAND"
		}
		list = append(list, e)
	}
	return c.Encode(struct {
		Rotations []entry `json:"Rotations"`
		Truncated bool    `json:"Truncated"`
	}{list, false})
}
