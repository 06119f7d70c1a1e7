package verify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
	"cloakroom/keys/verify"
)

// fixture is a vault with rows that ingest wrote, and a login that may verify them.
type fixture struct {
	*keystest.Env
	vault *keys.Vault
	admin *sqlx.DB
}

func newFixture(t *testing.T, messages []*etl.Message) *fixture {
	t.Helper()
	env := keystest.New(t)
	f := &fixture{Env: env, vault: env.Vault(t, env.As(t, "verifier", "rotator")), admin: env.Open(t, "")}
	etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{})
	return f
}

func (f *fixture) verify(t *testing.T, o verify.Options) *verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), f.vault, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

var all = verify.Options{All: true}

// victim and other are two stored rows; the statements below name them as $1 and $2.
var victim, other = etltest.Login(3).ID, etltest.Login(4).ID

// Every kind of damage is found in the row that has it, and named.
func TestFindsDamagedRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage string // SQL; $1 victim, $2 other
		want   string // of a failure
		rows   int    // that fail
	}{
		"a sealed value from another row": {
			`UPDATE cloakroom_data.user_logins a SET sealed_ip = b.sealed_ip FROM cloakroom_data.user_logins b WHERE a.row_id = $1 AND b.row_id = $2`, "altered, or moved", 1},
		"a sealed value from another column": {
			`UPDATE cloakroom_data.user_logins SET sealed_ip = sealed_device_id WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "", 1},
		"a bit of a sealed value": {
			`UPDATE cloakroom_data.user_logins SET sealed_device_id = set_byte(sealed_device_id, 40, get_byte(sealed_device_id, 40) # 1) WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "altered, or moved", 1},
		"a sealed value cut short": {
			`UPDATE cloakroom_data.user_logins SET sealed_ip = substring(sealed_ip for 20) WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "", 1},
		"a sealed value with a byte appended": {
			`UPDATE cloakroom_data.user_logins SET sealed_ip = sealed_ip || '\x00' WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "", 1},
		"a sealed value of an unknown version": {
			`UPDATE cloakroom_data.user_logins SET sealed_ip = set_byte(sealed_ip, 0, 2) WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "version", 1},
		"a sealed value gone": {
			`UPDATE cloakroom_data.user_logins SET sealed_ip = NULL WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "nothing is sealed", 1},
		"a token from another row": {
			`UPDATE cloakroom_data.user_logins a SET masked_ip_v1 = b.masked_ip_v1 FROM cloakroom_data.user_logins b WHERE a.row_id = $1 AND b.row_id = $2`, "not that of the sealed value", 1},
		"a token from another column": {
			`UPDATE cloakroom_data.user_logins SET masked_ip_v1 = masked_device_id_v1 WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "not that of the sealed value", 1},
		"a token gone": {
			`UPDATE cloakroom_data.user_logins SET masked_device_id_v1 = NULL WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "not that of the sealed value", 1},
		"the row given to another person": {
			`UPDATE cloakroom_data.user_logins SET user_id = 'somebody' WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "altered, or moved", 1},
		"the row given another date": {
			`UPDATE cloakroom_data.user_logins SET create_date = create_date + CASE WHEN extract(day FROM create_date) > 1 THEN -1 ELSE 1 END,
				sent = sent + CASE WHEN extract(day FROM create_date) > 1 THEN -1 ELSE 1 END * interval '1 day' WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "altered, or moved", 1},
		"the row given another id": {
			`UPDATE cloakroom_data.user_logins SET row_id = gen_random_uuid() WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "altered, or moved", 1},
		"erased except for a token": {
			`UPDATE cloakroom_data.user_logins SET sealed_ip = NULL, sealed_device_id = NULL, data_key = NULL WHERE row_id = $1 AND $2::uuid IS NOT NULL`, "a token is left", 1},
		"the data key gone": {
			`DELETE FROM cloakroom.data_keys WHERE $1::uuid <> $2::uuid`, "no such data key", 10},
		"the data key's wrapped bytes damaged": {
			`UPDATE cloakroom.data_keys SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE $1::uuid <> $2::uuid`, "does not unwrap", 10},
		"the data key's check damaged": {
			`UPDATE cloakroom.data_keys SET key_check = set_byte(key_check, 3, get_byte(key_check, 3) # 1) WHERE $1::uuid <> $2::uuid`, "key check", 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, etltest.Logins(0, 10))
			if report := f.verify(t, all); report.FailureCount != 0 || report.Opened != 10 {
				t.Fatalf("before: %+v", report)
			}
			f.damage(t, c.damage)
			checkReport(t, f.verify(t, all), c.want, c.rows)
		})
	}
}

func (f *fixture) damage(t *testing.T, statement string) {
	t.Helper()
	// Anyone who can write to the tables can drop what checks them.
	f.admin.MustExec(`ALTER TABLE cloakroom_data.user_logins DROP CONSTRAINT IF EXISTS sealed_ip, DROP CONSTRAINT IF EXISTS sealed_device_id,
		DROP CONSTRAINT IF EXISTS masked_ip_v1, DROP CONSTRAINT IF EXISTS masked_device_id_v1`)
	result, err := f.admin.Exec(statement, victim, other)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%d rows were damaged (%v)", n, err)
	}
}

func checkReport(t *testing.T, report *verify.Report, want string, rows int) {
	t.Helper()
	if report.Rows != 10 || report.Mismatched != rows || report.Opened != 10-rows || report.FailureCount < rows || report.Erased != 0 {
		t.Errorf("%+v, want %d of 10 rows mismatched", report, rows)
	}
	for _, f := range report.Failures {
		if !strings.Contains(f.Problem, want) {
			t.Errorf("%+v, want %q", f, want)
		}
		for _, value := range []string{"device-3", "10.0.0.3"} {
			if strings.Contains(f.Problem+f.Field+f.Key, value) {
				t.Errorf("a failure shows a value: %+v", f)
			}
		}
	}
}

func TestFindsDamagedRejections(t *testing.T) {
	t.Parallel()
	var messages []*etl.Message
	for n := range 40 {
		messages = append(messages, etltest.Message(n, "hello"))
	}
	f := newFixture(t, messages)
	if report := f.verify(t, all); report.Rejections != 40 || report.RejectionsOpened != 40 || report.FailureCount != 0 {
		t.Fatalf("before: %+v", report)
	}
	f.damage(t, `UPDATE cloakroom.rejections a SET sealed_body = b.sealed_body FROM cloakroom.rejections b
		WHERE a.message_id = (SELECT message_id FROM cloakroom.rejections WHERE $1::uuid <> $2::uuid ORDER BY 1 LIMIT 1)
		  AND b.message_id = (SELECT message_id FROM cloakroom.rejections ORDER BY 1 DESC LIMIT 1)`)
	if report := f.verify(t, all); report.RejectionsOpened != 39 || report.FailureCount != 1 || report.Failures[0].Field != dataset.BodyField {
		t.Errorf("%+v", report)
	}
}

// An erased row is no fault, and is counted apart from those that open.
func TestCountsErasedRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t, etltest.Logins(0, 10))
	f.damage(t, `UPDATE cloakroom_data.user_logins SET sealed_ip = NULL, sealed_device_id = NULL, masked_ip_v1 = NULL, masked_device_id_v1 = NULL, data_key = NULL
		WHERE row_id IN ($1, $2)`)
	if report := f.verify(t, all); report.Erased != 2 || report.Opened != 8 || report.FailureCount != 0 {
		t.Errorf("%+v", report)
	}
}

// Without All, a page of each month is verified, and progress is reported.
func TestSample(t *testing.T) {
	t.Parallel()
	messages := etltest.Logins(0, 100)
	for n, m := range messages {
		m.Sent = time.Date(2026, time.Month(1+n%3), 1+n%28, 0, 0, 0, 0, time.UTC)
	}
	f := newFixture(t, messages)
	pages := 0
	report := f.verify(t, verify.Options{Progress: func(int) { pages++ }})
	if report.FailureCount != 0 || report.Rows > 100 || pages < 3 {
		t.Errorf("%+v after %d pages", report, pages)
	}
}
