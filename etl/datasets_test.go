package etl_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// withOrders is a vault that has the dataset order beside login.
func withOrders(t *testing.T) *keystest.Env {
	t.Helper()
	text, err := os.ReadFile("../dataset/testdata/order.yaml")
	if err != nil {
		t.Fatal(err)
	}
	order, err := dataset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	env := keystest.New(t)
	if _, err := keys.ApplyDataset(t.Context(), env.URL(""), order); err != nil {
		t.Fatal(err)
	}
	return env
}

// order is message n with an order of its own, placed at a time.
func order(n int, placed time.Time, more string) *etl.Message {
	return etltest.Message(100_000+n, fmt.Sprintf(`{"kind":"order","order_id":"o-%d","customer":{"id":"00000000-0000-4000-8000-%012d"},`+
		`"placed_at":%q,"items":1,"payment":{"card.number":"4111 1111 1111 %04d"}%s}`, n, n, placed.Format(time.RFC3339Nano), n, more))
}

func routed(t *testing.T, env *keystest.Env, login, route string) *etl.Writer {
	t.Helper()
	r, err := etl.ParseRoute(route)
	if err != nil {
		t.Fatal(err)
	}
	w, err := etl.NewRoutingWriter(t.Context(), env.Vault(t, env.As(t, login, "ingest")), "login", r, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func count(t *testing.T, env *keystest.Env, query string) (n int) {
	t.Helper()
	if err := env.Open(t, "").Get(&n, query); err != nil {
		t.Fatal(err)
	}
	return n
}

// One queue with events of two datasets: each becomes a row of its own dataset, and what names none is a rejection.
func TestRoute(t *testing.T) {
	t.Parallel()
	for _, route := range []string{"member:kind", "attribute:kind"} {
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			env := withOrders(t)
			var messages []*etl.Message
			add := func(m *etl.Message, name string) {
				m.Attribute = name
				messages = append(messages, m)
			}
			for n := range 50 {
				m := etltest.Message(n, `{"kind":"login",`+etltest.LoginBody(n)[1:])
				add(m, "login")
				add(order(n, time.Now(), ""), "order")
			}
			add(etltest.Message(60, `{"kind":"login","user_id":"u","ip":"no address","device_id":"d"}`), "login")
			add(order(60, time.Now().AddDate(-60, 0, 0), ""), "order")
			add(etltest.Message(61, `{"kind":"ordr"}`), "ordr")
			add(etltest.Message(62, `{}`), "")
			s := etltest.Run(t, routed(t, env, "ingest", route), etltest.NewSource(messages), etl.Options{})
			if s.Stored != 100 || s.Rejections[etl.UnknownDataset] != 2 || s.Rejections[etl.BadIP] != 1 || s.Rejected != 4 {
				t.Errorf("%+v", s)
			}
			for query, want := range map[string]int{
				`SELECT count(*) FROM cloakroom_data.user_logins`: 50, `SELECT count(*) FROM cloakroom_data.orders`: 50,
				`SELECT count(*) FROM cloakroom.rejections WHERE dataset = 'login' AND reason = 'bad_ip' AND member = 'ip'`: 1,
				`SELECT count(*) FROM cloakroom.rejections WHERE dataset = 'login' AND reason = 'unknown_dataset'`:          2,
				`SELECT count(*) FROM cloakroom.rejections WHERE dataset = 'order' AND member = 'placed_at'`:                1,
				// No data key seals rows of two datasets.
				`SELECT count(*) FROM (SELECT data_key FROM cloakroom_data.orders INTERSECT SELECT data_key FROM cloakroom_data.user_logins) k`: 0,
			} {
				if n := count(t, env, query); n != want {
					t.Errorf("%s: %d, want %d", query, n, want)
				}
			}
			if again := etltest.Run(t, routed(t, env, "ingest2", route), etltest.NewSource(messages), etl.Options{}); again.Duplicates != int64(len(messages)) {
				t.Errorf("again: %+v", again)
			}
		})
	}
}

// With several datasets, one must be named.
func TestDatasetMustBeNamed(t *testing.T) {
	t.Parallel()
	env := withOrders(t)
	v := env.Vault(t, env.As(t, "ingest", "ingest"))
	for _, names := range [][]string{nil, {"ordr"}} {
		if _, err := etl.NewWriter(t.Context(), v, names, keys.Caps{}); err == nil {
			t.Errorf("a writer of %v", names)
		}
	}
}

// An optional member that cannot be read is NULL and counted; an order sent again is the same row, and a corrected one,
// rejected at first, is stored.
func TestOrders(t *testing.T) {
	t.Parallel()
	env := withOrders(t)
	w, err := etl.NewWriter(t.Context(), env.Vault(t, env.As(t, "ingest", "ingest")), []string{"order"}, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	run := func(m *etl.Message) etl.Summary {
		return etltest.Run(t, w, etltest.NewSource([]*etl.Message{m}), etl.Options{Log: slog.New(slog.DiscardHandler)})
	}
	if s := run(order(1, now, `,"status":"lost","shop_app":"2.3.0-beta","client":"203.0.113.9"`)); s.Stored != 1 || s.MembersDropped != 2 {
		t.Errorf("%+v, want 1 stored and 2 members dropped", s)
	}
	if n := count(t, env, `SELECT count(*) FROM cloakroom_data.orders WHERE status IS NULL AND shop_app IS NULL AND shop_app_text = '2.3.0-beta'
		AND client__network = '203.0.113.0/24' AND card__last4 = '0001' AND masked_card_v1 IS NOT NULL AND masked_email_v1 IS NULL`); n != 1 {
		t.Error("the row is not what was sent")
	}
	again := order(1, now, "")
	again.ID, again.Sent = [16]byte{1}, again.Sent.Add(time.Second)
	if s := run(again); s.Duplicates != 1 {
		t.Errorf("sent again: %+v", s)
	}
	if s := run(etltest.Message(7, `{"order_id":"o-7"}`)); s.Rejections[etl.MissingField] != 1 {
		t.Errorf("%+v", s)
	}
	if s := run(order(7, now, "")); s.Stored != 1 {
		t.Errorf("corrected: %+v", s)
	}
}
