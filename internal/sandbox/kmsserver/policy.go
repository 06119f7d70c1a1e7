package kmsserver

import (
	"maps"
	"slices"
)

// Policy maps operations to the purposes (the encryption context's member "purpose") for which they are allowed.
// Any stands for every operation, and for every purpose including none.
type Policy map[string][]string

// Any matches every operation or every purpose.
const Any = "*"

// Administrator may do everything.
func Administrator() Policy { return Policy{Any: {Any}} }

// Roles are the policies of cloakroom's roles, by the role's name: init, ingest, auditor, rotator, approver, analyst.
// Each holds exactly what the design's table of KMS permissions gives the role, and nothing else: not even
// DescribeKey.
func Roles() map[string]Policy {
	return map[string]Policy{
		"init":    {"GenerateDataKey": {"index"}, "Decrypt": {"index"}},
		"ingest":  {"GenerateDataKey": {"seal"}, "Decrypt": {"index"}},
		"auditor": {"Decrypt": {"seal", "index"}},
		"rotator": {
			"GenerateDataKey": {"seal", "index"},
			"Decrypt":         {"seal", "index"},
			"ReEncrypt":       {"seal", "index"},
		},
		"approver": {},
		"analyst":  {},
	}
}

func (p Policy) allows(op, purpose string) bool {
	for _, key := range []string{op, Any} {
		if purposes := p[key]; slices.Contains(purposes, Any) || purpose != "" && slices.Contains(purposes, purpose) {
			return true
		}
	}
	return false
}

// SetPolicy changes what an access key may do from the next call on. A server that had no policies has them then, so
// that all other access keys may do nothing.
func (s *Server) SetPolicy(accessKey string, p Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := map[string]Policy{}
	maps.Copy(changed, s.policies)
	changed[accessKey] = p
	s.policies = changed
}
