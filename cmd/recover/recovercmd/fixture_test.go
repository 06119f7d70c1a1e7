package recovercmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
	recovery "cloakroom/recover"
)

// slice is a source of events that are there already.
type slice struct{ messages []*etl.Message }

func (s *slice) Receive(context.Context) ([]*etl.Message, error) {
	if len(s.messages) == 0 {
		return nil, io.EOF
	}
	n := min(len(s.messages), 500)
	out := s.messages[:n]
	s.messages = s.messages[n:]
	return out, nil
}

// today is the date of every event, unless a test says otherwise.
var today = time.Now().UTC().Truncate(24 * time.Hour)

func event(body string) *etl.Message {
	return &etl.Message{ID: uuid.New(), Sent: today, Body: []byte(body), Receives: 1}
}

func login(user, ip, device string) *etl.Message {
	return event(fmt.Sprintf(`{"user_id":%q,"device_type":"ios","ip":%q,"device_id":%q,"locale":"de","app_version":"2.1.3"}`, user, ip, device))
}

// ingest stores events as the daemon does.
func ingest(t testing.TB, env *keystest.Env, messages ...*etl.Message) {
	t.Helper()
	ingestAs(t, env.Vault(t, env.As(t, "in"+uuid.NewString()[:8], "ingest")), messages...)
}

func ingestAs(t testing.TB, v *keys.Vault, messages ...*etl.Message) {
	t.Helper()
	w, err := etl.NewWriter(t.Context(), v, datasetsOf(messages), keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := etl.Run(t.Context(), w, &slice{messages}, etl.Options{})
	if err != nil || s.Abandoned > 0 {
		t.Fatalf("ingest: %v, %+v", err, s)
	}
}

// datasetsOf names the datasets of messages; of one that names none it is the only one.
func datasetsOf(messages []*etl.Message) []string {
	var names []string
	for _, m := range messages {
		if m.Dataset != "" && !slices.Contains(names, m.Dataset) {
			names = append(names, m.Dataset)
		}
	}
	return names
}

// orders puts a second dataset into the vault.
func (c *fixture) orders(t testing.TB) *dataset.Dataset {
	t.Helper()
	text, err := os.ReadFile("../../../dataset/testdata/order.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ApplyDataset(t.Context(), c.URL(""), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// order is an event of the second dataset.
func order(body string) *etl.Message {
	m := event(body)
	m.Dataset = "order"
	return m
}

// fixture is a vault with some logins and the people around it.
type fixture struct {
	*keystest.Env
	admin            *sqlx.DB // the superuser: what a DBA could do
	aliceURL, bobURL string
	alice, bob       *recovery.Client // auditor and approver
	first, second    *etl.Message     // two logins of user-1; second shares the device of third's
	third            *etl.Message     // of user-2
}

const (
	canaryIP     = "203.0.113.77"
	canaryDevice = "canary-device-4711"
)

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureUnder(t, "")
}

// newFixtureUnder has other KEKs before the one of the key file; each with a comma after it.
func newFixtureUnder(t testing.TB, keks string) *fixture {
	t.Helper()
	env := keystest.New(t)
	for uri := range strings.SplitSeq(strings.TrimSuffix(keks, ","), ",") {
		if uri != "" {
			env.AddKEK(t, uri)
		}
	}
	env.KEK = keks + env.KEK
	c := &fixture{Env: env, admin: env.Open(t, "")}
	c.aliceURL, c.bobURL = env.As(t, "alice", "auditor"), env.As(t, "bob", "approver")
	c.alice, c.bob = c.client(t, c.aliceURL), c.client(t, c.bobURL)
	c.first = login("user-1", canaryIP, canaryDevice)
	c.second = login("user-1", "198.51.100.2", "device-2")
	c.third = login("user-2", "2001:db8::7", "device-2")
	ingest(t, env, c.first, c.second, c.third)
	return c
}

func (c *fixture) client(t testing.TB, url string) *recovery.Client {
	t.Helper()
	return &recovery.Client{Vault: c.Vault(t, url), SourceIdentity: "test@host"}
}

// params is a request that the policy takes.
func params(change func(*recovery.RequestParams)) recovery.RequestParams {
	a := recovery.RequestParams{Purpose: "fraud", Ticket: "T-1", Reason: "suspected takeover", Fields: []string{"ip", "device_id"}, Subject: "user-1"}
	if change != nil {
		change(&a)
	}
	return a
}

func (c *fixture) request(t testing.TB, a recovery.RequestParams) uuid.UUID {
	t.Helper()
	id, err := c.alice.Request(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// approved is a request of alice's that bob approved.
func (c *fixture) approved(t testing.TB, a recovery.RequestParams) uuid.UUID {
	t.Helper()
	id := c.request(t, a)
	shown, err := c.bob.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := c.bob.Approve(t.Context(), shown); err != nil || state != "approved" {
		t.Fatalf("approve: %q, %v", state, err)
	}
	return id
}

// rows reads what was opened, a map a row.
func rows(t testing.TB, o *recovery.OpenedRows) []map[string]string {
	t.Helper()
	var out []map[string]string
	err := o.Each(func(r recovery.Record) error {
		row := map[string]string{}
		for i, c := range o.Columns {
			if r[i] != nil {
				row[c.Name] = string(r[i])
			}
		}
		out = append(out, row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// leaves lists the types of the log's leaves since the vault was made, in order.
func (c *fixture) leaves(t testing.TB) []string {
	t.Helper()
	var types []string
	if err := c.admin.Select(&types, `SELECT convert_from(leaf, 'UTF8')::json ->> 'type' FROM cloakroom.audit_leaves
		WHERE convert_from(leaf, 'UTF8')::json ->> 'type' NOT IN ('dataset.apply', 'kek.add') ORDER BY seq`); err != nil {
		t.Fatal(err)
	}
	return types
}

func wantExit(t testing.TB, err error, code int) {
	t.Helper()
	if err == nil || cli.ExitCode(err) != code {
		t.Errorf("error %v is exit code %d, want %d", err, cli.ExitCode(err), code)
	}
}
