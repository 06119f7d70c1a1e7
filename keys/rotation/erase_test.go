package rotation_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
)

// old is message n, dated some months ago.
func old(n, months int) *etl.Message {
	m := etltest.Login(n)
	m.Sent = keys.MonthOf(etltest.Today()).AddDate(0, -months, 3)
	return m
}

func (s *fixture) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if s.super == nil {
		s.super = s.Open(t, "")
	}
	if err := s.super.Get(&n, query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

// allowShred lets rotators shred the months before one, as the owner does.
func (s *fixture) allowShred(t testing.TB, before time.Time) {
	t.Helper()
	s.count(t, `SELECT count(cloakroom.set_policy('shred_before', $1))`, before.Format(time.DateOnly))
}

func TestShred(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 200)
	var messages []*etl.Message
	for n := range 300 {
		messages = append(messages, old(1000+n, 2+n%2))
	}
	bad := etltest.Message(-3, `not JSON`)
	bad.Sent = old(0, 2).Sent
	s.ingest(t, append(messages, bad))
	before := keys.MonthOf(etltest.Today()).AddDate(0, -1, 0)

	plan, err := rotation.PlanShred(t.Context(), s.vault, "", before)
	if err != nil || len(plan) != 2 || plan[0].Rows != 150 || plan[1].Rows != 150 || plan[1].Rejections != 1 {
		t.Fatalf("plan: %+v (%v)", plan, err)
	}
	if _, err := rotation.Shred(t.Context(), s.vault, before, rotation.Options{}); pg.Code(err) != pg.NotApproved {
		t.Fatalf("before the policy lets it: %v", err)
	}
	s.allowShred(t, before)
	report, err := rotation.Shred(t.Context(), s.vault, before, rotation.Options{BatchRows: 40})
	if err != nil || report.Cleared != 300 || report.ClearedRejections != 1 {
		t.Fatalf("%+v (%v)", report, err)
	}
	got, err := verify.Run(t.Context(), s.vault, verify.Options{All: true})
	if err != nil || got.Rows != 500 || got.Erased != 300 || got.Opened != 200 || got.FailureCount > 0 {
		t.Errorf("verification: %+v (%v)", got, err)
	}
	if n := s.count(t, `SELECT count(*) FROM public.user_logins WHERE masked_ip IS NOT NULL OR masked_device_id IS NOT NULL`); n != 200 {
		t.Errorf("%d rows have tokens, want 200", n)
	}
	if n := s.count(t, `SELECT count(*) FROM cloakroom.data_keys WHERE month < $1 AND (state <> 'shredded' OR wrapped IS NOT NULL)`, before); n != 0 {
		t.Errorf("%d data keys are left", n)
	}
	// A late event of a shredded month is stored under a new key, by the daemon that had the old
	// one.
	s.ingest(t, []*etl.Message{old(5000, 2)})
	if n := s.count(t, `SELECT count(*) FROM cloakroom_data.user_logins WHERE data_key IS NOT NULL`); n != 201 {
		t.Errorf("%d rows are sealed, want 201", n)
	}
}

// A shred was interrupted, then a late event came under a new key. Resumed, the shred clears that
// row, too.
func TestShredGoesOn(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 10)
	before := keys.MonthOf(etltest.Today()).AddDate(0, -1, 0)
	s.ingest(t, []*etl.Message{old(1000, 2)})
	s.allowShred(t, before)
	if _, err := s.vault.DB.Exec(`SELECT cloakroom.begin_shred($1)`, before); err != nil {
		t.Fatal(err)
	}
	s.ingest(t, []*etl.Message{old(1001, 2)})
	report, err := rotation.Shred(t.Context(), s.vault, before, rotation.Options{})
	if err != nil || report.Cleared != 2 {
		t.Errorf("%+v (%v), want 2 rows cleared", report, err)
	}
	if n := s.count(t, `SELECT count(*) FROM cloakroom_data.user_logins WHERE data_key IS NOT NULL`); n != 10 {
		t.Errorf("%d rows are sealed, want the 10 of this month", n)
	}
	if n := s.count(t, `SELECT count(*) FROM cloakroom.rotations WHERE step = 'shred'`); n != 2 {
		t.Errorf("%d shreds, want 2", n)
	}
}

// statistics are the rows of a table's statistics that hold a value.
func (s *fixture) statistics(t *testing.T, value string) int {
	t.Helper()
	return s.count(t, `SELECT count(*) FROM pg_stats WHERE schemaname = 'cloakroom_data'
		AND strpos(concat(most_common_vals::text, histogram_bounds::text), $1) > 0`, value)
}

// What is erased is not kept by the planner's statistics, of which autovacuum never gathers those of a parent again.
func TestErasedLeavesTheStatistics(t *testing.T) {
	t.Parallel()
	for name, erase := range map[string]func(*testing.T, *fixture) error{
		"forget": func(t *testing.T, s *fixture) error {
			request, err := rotation.RequestForget(t.Context(), s.vault, "user-7", "DSAR-1", "they asked")
			if err != nil {
				return err
			}
			s.approve(t, "ann", request)
			s.approve(t, "ben", request)
			_, _, err = rotation.Forget(t.Context(), s.vault, request, rotation.Options{})
			return err
		},
		"shred": func(t *testing.T, s *fixture) error {
			before := keys.MonthOf(etltest.Today()).AddDate(0, 1, 0)
			s.allowShred(t, before)
			_, err := rotation.Shred(t.Context(), s.vault, before, rotation.Options{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t, 10)
			var erased []string
			s.count(t, `SELECT 1`)
			s.super.MustExec(`ANALYZE cloakroom_data.user_logins`)
			if err := s.super.Select(&erased, `SELECT unnest(ARRAY[masked_ip_v1, masked_device_id_v1, encode(sealed_ip, 'hex'), encode(sealed_device_id, 'hex')])
				FROM cloakroom_data.user_logins WHERE user_id = 'user-7'`); err != nil || len(erased) != 4 {
				t.Fatal(erased, err)
			}
			for _, value := range erased {
				if s.statistics(t, value) == 0 {
					t.Fatalf("%s is in no statistics before", value)
				}
			}
			if err := erase(t, s); err != nil {
				t.Fatal(err)
			}
			for _, value := range erased {
				if n := s.statistics(t, value); n > 0 {
					t.Errorf("%d statistics hold %s", n, value)
				}
			}
		})
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 50)
	s.ingest(t, []*etl.Message{
		etltest.Message(100, strings.Replace(etltest.LoginBody(100), `"user-100"`, `"user-7"`, 1)),
		etltest.Message(101, `{"user_id":"user-7","device_id":"d"}`), // no ip: a rejection
		old(7, 2),
	})
	request, err := rotation.RequestForget(t.Context(), s.vault, "user-7", "DSAR-1", "they asked")
	if err != nil {
		t.Fatal(err)
	}
	forget := func() (rotation.Certificate, rotation.Report, error) {
		return rotation.Forget(t.Context(), s.vault, request, rotation.Options{})
	}
	s.approve(t, "ann", request)
	if _, _, err := forget(); pg.Code(err) != pg.NotApproved {
		t.Fatalf("with one approval: %v", err)
	}
	s.approve(t, "ben", request)
	plan, err := rotation.PlanForget(t.Context(), s.vault, request)
	if err != nil || plan.Approvals != 2 || plan.Rows != 3 || plan.Rejections != 1 {
		t.Fatalf("plan: %+v (%v)", plan, err)
	}
	certificate, report, err := forget()
	if err != nil || report.Cleared != 3 || report.ClearedRejections != 1 {
		t.Fatalf("%+v (%v)", report, err)
	}
	if again, _, err := forget(); err != nil || again != certificate {
		t.Errorf("again: %+v (%v), want %+v", again, err, certificate)
	}
	if n := s.count(t, `SELECT count(*) FROM cloakroom_data.user_logins WHERE user_id = 'user-7' AND (data_key IS NOT NULL OR masked_ip_v1 IS NOT NULL OR sealed_ip IS NOT NULL)`); n != 0 {
		t.Errorf("%d rows are not cleared", n)
	}
	s.replay(t, certificate)
}

// replay imitates a restore: a row of the person appears, dated before the certificate, and is
// forgotten again.
func (s *fixture) replay(t *testing.T, c rotation.Certificate) {
	m := old(7777, 1)
	m.Body = []byte(strings.Replace(string(m.Body), `"user-7777"`, `"user-7"`, 1))
	s.ingest(t, []*etl.Message{m})
	line, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	report, err := rotation.ReplayForget(t.Context(), s.vault, bytes.NewReader(line), rotation.Options{DryRun: true})
	if err != nil || report.Cleared != 1 {
		t.Errorf("replay, dry: %+v (%v)", report, err)
	}
	report, err = rotation.ReplayForget(t.Context(), s.vault, bytes.NewReader(line), rotation.Options{})
	if err != nil || report.Cleared != 1 {
		t.Errorf("replay: %+v (%v)", report, err)
	}
	c.Certificate = strings.Replace(c.Certificate, "user-7", "user-8", 1)
	if line, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	if _, err := rotation.ReplayForget(t.Context(), s.vault, bytes.NewReader(line), rotation.Options{}); pg.Code(err) != pg.NotAllowedByVault {
		t.Errorf("an altered certificate: %v", err)
	}
}

// approve approves a request as somebody else.
func (s *fixture) approve(t testing.TB, login string, request uuid.UUID) {
	t.Helper()
	db := s.approvers[login]
	if db == nil {
		db = s.Pool(t, s.As(t, login, "approver"))
		s.approvers[login] = db
	}
	var digest []byte
	if err := db.Get(&digest, `SELECT digest FROM cloakroom.show_request($1)`, request); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`SELECT cloakroom.approve($1, $2)`, request, digest); err != nil {
		t.Fatal(err)
	}
}

// TestManyKeys closes, retires and shreds more data keys than one leaf of the audit log takes.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	const made = 45_000
	s := newFixture(t, 0)
	before := s.count(t, `SELECT count(*) FROM cloakroom.data_keys`)
	s.super.MustExec(`INSERT INTO cloakroom.data_keys (id, dataset, month, kek, kek_id, wrapped, key_check)
		SELECT 2000000000 + n, 'login', '2020-01-01', 'file:///nowhere', 'none', repeat('w', 64)::bytea, repeat('x', 16)::bytea FROM generate_series(1, $1) AS n`, made)
	s.allowShred(t, time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, step := range []struct{ leaf, query string }{
		{"key.close", `SELECT cloakroom.close_data_keys(now() + interval '1 minute')`},
		{"key.retire", `SELECT cloakroom.retire_data_keys()`},
		{"key.shred", `SELECT cloakroom.begin_shred('2021-01-01')`},
	} {
		if _, err := s.vault.DB.Exec(step.query); err != nil {
			t.Fatalf("%s: %v", step.leaf, err)
		}
		var leaves, ids int
		err := s.super.QueryRow(`SELECT count(DISTINCT seq), count(DISTINCT id) FROM cloakroom.audit_leaves,
			json_array_elements_text(convert_from(leaf, 'UTF8')::json -> 'data_keys') AS id
			WHERE convert_from(leaf, 'UTF8')::json ->> 'type' = $1 AND id::bigint > 2000000000`, step.leaf).Scan(&leaves, &ids)
		if err != nil || leaves < 2 || ids != made {
			t.Errorf("%s: %d leaves name %d data keys, want several and %d (%v)", step.leaf, leaves, ids, made, err)
		}
	}
	if n := s.count(t, `SELECT count(*) FROM cloakroom.data_keys WHERE state <> 'shredded'`); n != before {
		t.Errorf("%d data keys are not shredded, want the %d of before", n, before)
	}
}
