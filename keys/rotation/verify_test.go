package rotation_test

import (
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// keys verify finds what is wrong around the rows, without opening them all: columns, indexes, views, and keys that rows need
// and that are gone.
func TestVerifyFindsDamageAroundRows(t *testing.T) {
	for name, c := range map[string]struct {
		damage     string
		what, want string // of the one kind of failure
		count      int
	}{
		"the view shows another column's tokens": {
			`CREATE OR REPLACE VIEW public.user_logins AS SELECT user_id, device_type, masked_device_id_v1 AS masked_ip, masked_device_id_v1 AS masked_device_id,
				locale, app_version, create_date FROM cloakroom.user_logins`, "view public.user_logins", "does not show", 1},
		"the view hides rows": {
			`CREATE OR REPLACE VIEW public.user_logins AS SELECT user_id, device_type, masked_ip_v1 AS masked_ip, masked_device_id_v1 AS masked_device_id,
				locale, app_version, create_date FROM cloakroom.user_logins WHERE user_id <> 'user-3'`, "view public.user_logins", "does not show", 1},
		"no view":                   {`DROP VIEW public.user_login_duplicates, public.user_logins`, "view public", "", 2},
		"no view of duplicates":     {`DROP VIEW public.user_login_duplicates`, "view public.user_login_duplicates", "missing", 1},
		"no index":                  {`DROP INDEX cloakroom.user_logins_masked_ip_v1`, "index of masked_ip_v1", "none that is valid", 1},
		"tokens of a retired key":   {`ALTER TABLE cloakroom.user_logins ADD COLUMN masked_ip_v0 varchar(256)`, "column masked_ip_v0", "no live index key", 1},
		"a column of tokens gone":   {`DROP VIEW public.user_logins CASCADE; ALTER TABLE cloakroom.user_logins DROP COLUMN masked_ip_v1`, "", "", 4},
		"two index keys live":       {`INSERT INTO cloakroom.index_keys (version, state, kek, kek_id, wrapped, key_check) SELECT 2, 'live', kek, kek_id, wrapped, key_check FROM cloakroom.index_keys`, "", "", 0},
		"rows without their key":    {`DELETE FROM cloakroom.data_keys`, "data key", "no such data key", 10},
		"rows under a retired key":  {`UPDATE cloakroom.data_keys SET state = 'retired', retired_at = now()`, "data key", "retired, though", 10},
		"rows under a shredded key": {`UPDATE cloakroom.data_keys SET state = 'shredded', wrapped = NULL`, "data key", "no such data key", 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStock(t, 8) // and two rejections
			db := s.Open(t, "")
			if got := s.sample(t); got.FailureCount > 0 || len(got.Unneeded) > 0 {
				t.Fatalf("before: %+v", got)
			}
			db.MustExec(c.damage)
			if c.count == 0 {
				if got, err := s.vault.Verify(t.Context(), dataset.Login(), keys.VerifyOptions{}); err == nil && got.FailureCount == 0 {
					t.Error("nothing is found")
				}
				return
			}
			found := map[keys.Failure]bool{} // the sample may find a row's failure once more
			for _, f := range s.sample(t).Failures {
				found[f] = true
				if f.Field != dataset.BodyField && !strings.Contains(f.Key+f.Part, c.what) || !strings.Contains(f.Problem, c.want) {
					t.Errorf("%+v, want %s: %s", f, c.what, c.want)
				}
			}
			if len(found) < c.count {
				t.Errorf("%d failures, want %d: %v", len(found), c.count, found)
			}
		})
	}
}

func (s *stock) sample(t *testing.T) *keys.Verification {
	t.Helper()
	got, err := s.vault.Verify(t.Context(), dataset.Login(), keys.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A reindex under way is no fault, wherever it stands, nor is a closed key that nothing refers to.
func TestVerifyAllowsForRotation(t *testing.T) {
	s := newStock(t, 60)
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
	if _, err := rotation.Reindex(t.Context(), s.vault, dataset.Login(), o); err != nil {
		t.Fatal(err)
	}
	if len(looked) < 8 {
		t.Errorf("verified in phases %v only", looked)
	}
	s.super.MustExec(`SELECT cloakroom.close_data_keys(now()); UPDATE cloakroom.user_logins SET sealed_ip = NULL, sealed_device_id = NULL, masked_ip_v2 = NULL, masked_device_id_v2 = NULL, data_key = NULL;
		UPDATE cloakroom.rejections SET sealed_body = NULL, data_key = NULL`)
	if got := s.sample(t); len(got.Unneeded) != 1 || got.FailureCount > 0 {
		t.Errorf("%+v, want one key that nothing refers to", got)
	}
}
