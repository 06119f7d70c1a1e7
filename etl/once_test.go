package etl_test

import (
	"fmt"
	"testing"
	"time"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// visits is a dataset with a time of its own, with or without an id.
func visits(t *testing.T, id string) *dataset.Dataset {
	t.Helper()
	d, err := dataset.Parse([]byte(`
dataset: visit
table: visits
subject: who
` + id + `
time: at
partition: day
members:
  - {name: who, type: text, max: 64, required: true}
  - {name: number, type: text, max: 64, required: true}
  - {name: at, type: timestamp, required: true}
  - {name: address, type: ip, required: true, protect: {index: [exact]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A delivery is a row or a rejection, whichever came first, however often it comes again and however it is judged then;
// and what is sent again is judged on its own. So it is for each way in which a dataset tells events apart.
func TestDeliveryIsRowOrRejection(t *testing.T) {
	t.Parallel()
	for kind, c := range map[string]struct {
		own bool // the dataset has a time of its own
		id  string
	}{
		"plain":       {},
		"time":        {own: true},
		"id and time": {own: true, id: "id: number"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			name, table := "login", "user_logins"
			if c.own {
				d := visits(t, c.id)
				name, table = d.Name, d.Table
				if _, err := keys.ApplyDataset(t.Context(), env.URL(""), d); err != nil {
					t.Fatal(err)
				}
			}
			admin := env.Open(t, "")
			// An old event is one that a policy with fewer days refuses. Another message about it has another id.
			old := func(n int, sent time.Duration) *etl.Message {
				at := etltest.Today().AddDate(0, 0, -20)
				m := etltest.Message(n, etltest.LoginBody(n))
				m.Sent, m.DayOnly, m.Dataset, m.Receives = at.Add(sent), false, name, 2
				if c.own {
					m.Sent = etltest.Today().Add(sent)
					m.Body = fmt.Appendf(nil, `{"who":"w-%d","number":"n-%[1]d","at":%q,"address":"192.0.2.1"}`, n,
						at.Format(time.RFC3339))
				}
				return m
			}
			write := func(days int, messages ...*etl.Message) etl.Summary {
				admin.MustExec(`UPDATE cloakroom.settings SET days_back = $1`, days)
				w, err := etl.NewWriter(t.Context(), env.Vault(t, env.Login(t, fmt.Sprintf("ingest%d", time.Now().UnixNano()),
					"cloakroom_ingest")), []string{name}, keys.Caps{})
				if err != nil {
					t.Fatal(err)
				}
				return etltest.Run(t, w, etltest.NewSource(messages), etl.Options{})
			}
			for i, step := range []struct {
				days                         int
				messages                     []*etl.Message
				stored, rejected, duplicates int64
			}{
				{30, []*etl.Message{old(1, 0), old(2, 0)}, 2, 0, 0},
				{10, []*etl.Message{old(3, 0), old(4, 0)}, 0, 2, 0},
				// The same deliveries, judged the other way.
				{10, []*etl.Message{old(1, 0), old(2, 0), old(3, 0)}, 0, 0, 3},
				{30, []*etl.Message{old(1, 0), old(3, 0), old(4, 0)}, 0, 0, 3},
				// Message 3 sent once more is a delivery of its own: now it is a row.
				{30, []*etl.Message{old(3, time.Second), old(3, 0)}, 1, 0, 1},
				{10, []*etl.Message{old(3, time.Second)}, 0, 0, 1},
				// Message 1 sent once more and refused is a rejection, beside the row of its first delivery.
				{10, []*etl.Message{old(1, time.Second), old(1, 0)}, 0, 1, 1},
				{30, []*etl.Message{old(1, time.Second)}, 0, 0, 1},
			} {
				s := write(step.days, step.messages...)
				if s.Stored != step.stored || s.Rejected != step.rejected || s.Duplicates != step.duplicates {
					t.Errorf("step %d: %d stored, %d rejected, %d duplicates; want %d, %d, %d", i, s.Stored, s.Rejected,
						s.Duplicates, step.stored, step.rejected, step.duplicates)
				}
			}
			if rows, rejections := count(t, env, `SELECT count(*) FROM cloakroom_data.`+table), count(t, env,
				`SELECT count(*) FROM cloakroom.rejections`); rows != 3 || rejections != 3 {
				t.Errorf("%d rows and %d rejections, want 3 and 3", rows, rejections)
			}
		})
	}
}
