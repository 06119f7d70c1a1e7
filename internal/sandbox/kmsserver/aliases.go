package kmsserver

import (
	"regexp"
	"strings"

	"cloakroom/internal/sandbox/awswire"
)

var aliasName = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]{1,250}$`)

type aliasRequest struct {
	Name   string `json:"AliasName"`
	Target string `json:"TargetKeyId"`
}

func (s *Server) createAlias(c *awswire.Call) error {
	return s.changeAlias(c, func(in aliasRequest, k *key) error {
		if !aliasName.MatchString(in.Name) || strings.HasPrefix(in.Name, "alias/aws/") {
			return ErrInvalidAliasName.Because(
				`Alias must start with the prefix "alias/", not "alias/aws/", and hold letters, digits, / _ - only.`,
			)
		}
		if s.aliases[in.Name] != nil {
			return ErrAlreadyExists.Because("An alias with the name " + s.arnPrefix() + in.Name + " already exists")
		}
		now := s.config.Now()
		s.aliases[in.Name] = &alias{target: k.id, created: now, updated: now}
		return nil
	})
}

func (s *Server) updateAlias(c *awswire.Call) error {
	return s.changeAlias(c, func(in aliasRequest, k *key) error {
		a := s.aliases[in.Name]
		if a == nil {
			return s.noAlias(in.Name)
		}
		a.target, a.updated = k.id, s.config.Now()
		return nil
	})
}

func (s *Server) noAlias(name string) error {
	return ErrNotFound.Because("Alias " + s.arnPrefix() + name + " is not found.")
}

func (s *Server) changeAlias(c *awswire.Call, do func(aliasRequest, *key) error) error {
	var in aliasRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	if strings.HasPrefix(in.Target, "alias/") {
		return ErrValidation.Because("Aliases must refer to keys. Not aliases")
	}
	k, err := s.administered(c, in.Target)
	if err != nil {
		return err
	}
	if err := do(in, k); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	c.EncodeEmpty()
	return nil
}
