package rotation_test

import (
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
)

// fixture is a vault whose rows ingest wrote: n of them, and two rejections.
type fixture struct {
	*keystest.Env
	writer *etl.Writer
	vault  *keys.Vault // as the rotator
	n      int

	super, asOwner *sqlx.DB            // connected at first use
	approvers      map[string]*sqlx.DB // by login, connected at first use
}

func newFixture(t testing.TB, n int) *fixture {
	t.Helper()
	return fixtureOf(t, keystest.New(t), n)
}

func fixtureOf(t testing.TB, env *keystest.Env, n int) *fixture {
	t.Helper()
	s := &fixture{Env: env, writer: etltest.NewWriter(t, env, "ingest"), vault: env.Vault(t,
		env.As(t, "rotator", "rotator")), n: n, approvers: map[string]*sqlx.DB{}}
	s.ingest(t, etltest.Logins(0, n))
	s.ingest(t, []*etl.Message{etltest.Message(-1, `{"user_id":"user-1"}`), etltest.Message(-2, `no JSON at all`)})
	return s
}

func (s *fixture) ingest(t testing.TB, messages []*etl.Message) {
	t.Helper()
	if _, err := etl.Run(t.Context(), s.writer, etltest.NewSource(etltest.Parts(messages, 500)...),
		etl.Options{MaxOutage: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
}

// verify opens everything.
func (s *fixture) verify(t testing.TB, rows int) {
	t.Helper()
	report, err := verify.Run(t.Context(), s.vault, verify.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Rows != rows || report.Opened != rows || report.FailureCount > 0 || report.RejectionsOpened != report.Rejections {
		t.Errorf("verification: %+v, want %d rows", report, rows)
	}
}

// states are the data keys' states by id.
func (s *fixture) states(t testing.TB) map[uint32]string {
	t.Helper()
	list, err := s.vault.DataKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := map[uint32]string{}
	for _, k := range list {
		states[k.ID] = k.State
	}
	return states
}

func TestRotateForce(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 5000)
	report, err := rotation.Rotate(t.Context(), s.vault, rotation.Options{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", report)
	if report.Resealed != 5000 || report.Rejections != 2 || len(report.Retired) != 1 || len(report.NewKeys) != 1 {
		t.Errorf("report: %+v", report)
	}
	s.verify(t, 5000)
	if states := s.states(t); states[report.Retired[0]] != "retired" || states[report.NewKeys[0]] != "active" {
		t.Errorf("states: %v", states)
	}
	// The daemon, which still has the old key in hand, goes on.
	s.ingest(t, etltest.Logins(5000, 5100))
	s.verify(t, 5100)

	report, err = rotation.Rotate(t.Context(), s.vault, rotation.Options{})
	if err != nil || report.Resealed+report.Rejections > 0 || len(report.Closed)+len(report.Retired) > 0 {
		t.Errorf("nothing was due: %+v (%v)", report, err)
	}
}
