package verify_test

import (
	"strings"
	"testing"

	"cloakroom/dataset"
	"cloakroom/etl/etltest"
	"cloakroom/keys/verify"
)

// A sample finds damage around the rows, too, without opening them all: columns, indexes, views,
// and keys that rows need but that are gone.
func TestFindsDamageAroundRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage     string
		what, want string // of the one kind of failure
		count      int
	}{
		"the view shows another column's tokens": {
			`CREATE OR REPLACE VIEW public.user_logins AS SELECT user_id, device_type, masked_device_id_v1 AS masked_ip, masked_device_id_v1 AS masked_device_id,
				locale, app_version, create_date FROM cloakroom_data.user_logins`, "view public.user_logins", "does not show", 1},
		"the view hides rows": {
			`CREATE OR REPLACE VIEW public.user_logins AS SELECT user_id, device_type, masked_ip_v1 AS masked_ip, masked_device_id_v1 AS masked_device_id,
				locale, app_version, create_date FROM cloakroom_data.user_logins WHERE user_id <> 'user-3'`, "view public.user_logins", "does not show", 1},
		"no view":               {`DROP VIEW public.user_logins_duplicates, public.user_logins`, "view public", "", 2},
		"no view of duplicates": {`DROP VIEW public.user_logins_duplicates`, "view public.user_logins_duplicates", "missing", 1},
		"no index":              {`DROP INDEX cloakroom_data.user_logins_masked_ip_v1`, "index of masked_ip_v1", "none that is valid", 1},
		"no index of people":    {`DROP INDEX cloakroom_data.user_logins__subject`, "index of user_id", "none that is valid", 1},
		"a CHECK is not proven": {`ALTER TABLE cloakroom_data.user_logins DROP CONSTRAINT masked_ip_v1,
			ADD CONSTRAINT masked_ip_v1 CHECK ((masked_ip_v1 IS NULL) = (sealed_ip IS NULL)) NOT VALID`, "constraint masked_ip_v1", "not proven", 2},
		"tokens of a retired key":   {`ALTER TABLE cloakroom_data.user_logins ADD COLUMN masked_ip_v0 varchar(256)`, "column masked_ip_v0", "no live index key", 1},
		"a column of tokens gone":   {`DROP VIEW public.user_logins CASCADE; ALTER TABLE cloakroom_data.user_logins DROP COLUMN masked_ip_v1`, "", "", 4},
		"two index keys live":       {`INSERT INTO cloakroom.index_keys (version, state, kek, kek_id, wrapped, key_check) SELECT 2, 'live', kek, kek_id, wrapped, key_check FROM cloakroom.index_keys`, "", "", 0},
		"rows without their key":    {`DELETE FROM cloakroom.data_keys`, "data key", "no such data key", 10},
		"rows under a retired key":  {`UPDATE cloakroom.data_keys SET state = 'retired', retired_at = now()`, "data key", "retired, though", 10},
		"rows under a shredded key": {`UPDATE cloakroom.data_keys SET state = 'shredded', wrapped = NULL`, "data key", "no such data key", 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, append(etltest.Logins(0, 8), etltest.Message(-1, `{"user_id":"user-1"}`),
				etltest.Message(-2, `not JSON`)))
			if got := f.verify(t, verify.Options{}); got.FailureCount > 0 || len(got.Unneeded) > 0 {
				t.Fatalf("before: %+v", got)
			}
			f.admin.MustExec(c.damage)
			if c.count == 0 {
				if got, err := verify.Run(t.Context(), f.vault, verify.Options{}); err == nil && got.FailureCount == 0 {
					t.Error("nothing is found")
				}
				return
			}
			found := map[verify.Failure]bool{} // the sample may find a row's failure once more
			for _, failure := range f.verify(t, verify.Options{}).Failures {
				found[failure] = true
				if failure.Field != dataset.BodyField && !strings.Contains(failure.Key+failure.Part, c.what) ||
					!strings.Contains(failure.Problem, c.want) {
					t.Errorf("%+v, want %s: %s", failure, c.what, c.want)
				}
			}
			if len(found) < c.count {
				t.Errorf("%d failures, want %d: %v", len(found), c.count, found)
			}
		})
	}
}
