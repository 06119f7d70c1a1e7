package rotation_test

import (
	"testing"

	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
)

// A running reindex is no fault in any phase, nor is a closed key that nothing needs.
func TestVerifyAllowsForRotation(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 60)
	looked := map[string]bool{}
	verify := func(string) {
		var phase string
		if err := s.super.Get(&phase, `SELECT coalesce(min(phase), 'none') FROM cloakroom.rotations WHERE state = 'running'`); err != nil {
			t.Fatal(err)
		}
		if looked[phase] {
			return
		}
		looked[phase] = true
		if got := s.sample(t); got.FailureCount > 0 {
			t.Errorf("in phase %s: %+v", phase, got)
		}
	}
	s.count(t, `SELECT 1`) // connects
	// Before a statement and after its commit: within a transaction its locks would be waited for.
	o := rotation.Options{Workers: 1, BatchRows: 40, Owner: s.owner(t)}.WithHook(func(at string) {
		if at == "after commit" {
			verify(at)
		}
	})
	if _, err := rotation.Reindex(t.Context(), s.vault, o); err != nil {
		t.Fatal(err)
	}
	if len(looked) < 8 {
		t.Errorf("verified in phases %v only", looked)
	}
	s.super.MustExec(`SELECT cloakroom.close_data_keys(now()); UPDATE cloakroom_data.user_logins SET sealed_ip = NULL, sealed_device_id = NULL, masked_ip_v2 = NULL, masked_device_id_v2 = NULL, data_key = NULL;
		UPDATE cloakroom.rejections SET sealed_body = NULL, data_key = NULL`)
	if got := s.sample(t); len(got.Unneeded) != 1 || got.FailureCount > 0 {
		t.Errorf("%+v, want one key that nothing refers to", got)
	}
}

func (s *fixture) sample(t *testing.T) *verify.Report {
	t.Helper()
	got, err := verify.Run(t.Context(), s.vault, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}
