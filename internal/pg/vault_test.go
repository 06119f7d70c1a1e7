package pg_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// subject is whose every row is: as a uuid or as a text.
const subject = "11111111-1111-1111-1111-111111111111"

// twoDatasets is a vault with two datasets, one with an id of its own and a partition a day, the other with neither, and
// a connection for each role. Rows are sealed with random bytes: no function of the database opens one.
type twoDatasets struct {
	*keystest.Env
	t        *testing.T
	datasets []*dataset.Dataset
	sessions map[string]*sqlx.DB // by role; approver2 is another approver
	now      time.Time
	check    []byte // of every data key
}

func newTwoDatasets(t *testing.T) *twoDatasets {
	t.Helper()
	v := &twoDatasets{Env: keystest.New(t), t: t, sessions: map[string]*sqlx.DB{}, check: make([]byte, 16)}
	v.Open(t, "").MustExec("ALTER DATABASE " + v.Name() + " SET track_functions = 'all'")
	text, err := os.ReadFile("../../dataset/testdata/order.yaml")
	if err != nil {
		t.Fatal(err)
	}
	order, err := dataset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ApplyDataset(t.Context(), v.URL(""), order); err != nil {
		t.Fatal(err)
	}
	v.datasets = []*dataset.Dataset{dataset.Login(), order}
	for _, role := range []string{"ingest", "rotator", "auditor", "approver", "approver2", "breakglass", "witness"} {
		db := v.Pool(t, v.As(t, role, strings.TrimSuffix(role, "2")))
		db.SetMaxOpenConns(1) // staging tables are a session's
		v.sessions[role] = db
	}
	owner, err := pg.Open(pg.Config{URL: v.URL(""), Role: pg.Owner})
	if err != nil {
		t.Fatal(err)
	}
	v.sessions["owner"] = owner
	v.do("owner", `SELECT cloakroom.add_kek('file:///k', 'kek')`)
	v.now = get[time.Time](v, "ingest", `SELECT clock_timestamp()`).UTC()
	return v
}

// do executes a statement as a role.
func (v *twoDatasets) do(role, query string, args ...any) {
	v.t.Helper()
	if _, err := v.sessions[role].ExecContext(v.t.Context(), query, args...); err != nil {
		v.t.Fatalf("%s: %s: %v", role, query, err)
	}
}

// get selects one value as a role.
func get[T any](v *twoDatasets, role, query string, args ...any) (value T) {
	v.t.Helper()
	if err := v.sessions[role].GetContext(v.t.Context(), &value, query, args...); err != nil {
		v.t.Fatalf("%s: %s: %v", role, query, err)
	}
	return value
}

// newKey registers a data key of a dataset for this month.
func (v *twoDatasets) newKey(role string, d *dataset.Dataset) int {
	v.t.Helper()
	id := get[int](v, role, `SELECT cloakroom.reserve_data_key()`)
	v.do(role, `SELECT cloakroom.register_data_key($1, $2, date_trunc('month', $3::timestamptz AT TIME ZONE 'UTC')::date,
		'kek', $4, $5)`, id, d.Name, v.now, random(64), v.check)
	return id
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// sealed is as long as a sealed value and carries the id of its data key where one does.
func sealed(key int) []byte {
	b := random(40)
	b[0] = 1
	binary.BigEndian.PutUint32(b[1:], uint32(key))
	return b
}

// values of each SQL type, but for sealed ones.
func valueOf(c dataset.Column, now time.Time) any {
	switch {
	case c.Role == dataset.RoleToken:
		return strings.Repeat("t", 22)
	case c.Type == "uuid":
		return subject
	case c.Type == "timestamptz":
		return now
	case c.Type == "date":
		return now.Format(time.DateOnly)
	case c.Type == "bigint", c.Type == "integer", strings.HasPrefix(c.Type, "numeric"):
		return 1
	case c.Type == "inet":
		return "192.0.2.1"
	case c.Type == "cidr":
		return "192.0.2.0/24"
	case c.Type == "boolean":
		return true
	case c.Type == "jsonb":
		return "{}"
	}
	return subject[:min(len(subject), 4)]
}

// stageRow stages a row of a dataset under a data key; nil: without one.
func (v *twoDatasets) stageRow(d *dataset.Dataset, key any, at time.Time) {
	v.t.Helper()
	var names, marks []string
	var values []any
	for _, c := range d.TableColumns([]uint32{1}) {
		var value any
		switch c.Role {
		case dataset.RoleRow, dataset.RoleMessage:
			value = fmt.Sprintf("%x", random(16))
		case dataset.RoleKey:
			value = key
		case dataset.RoleSealed, dataset.RoleToken, dataset.RoleReveal:
			if key == nil {
				continue
			}
			if value = valueOf(c, at); c.Role == dataset.RoleSealed {
				value = sealed(key.(int))
			}
		default:
			value = valueOf(c, at)
		}
		if c.Role == dataset.RoleClear && d.Members[c.Member].Name == d.Subject {
			value = subject
		}
		names, values = append(names, `"`+c.Name+`"`), append(values, value)
		marks = append(marks, fmt.Sprintf("$%d", len(values)))
	}
	v.do("ingest", fmt.Sprintf("INSERT INTO pg_temp.stage_%s (%s) VALUES (%s)", d.Name, strings.Join(names, ", "),
		strings.Join(marks, ", ")), values...)
}

// load stages rows and a rejection, and loads them. It returns the error of the load.
func (v *twoDatasets) load(d *dataset.Dataset, key int, stage func()) error {
	v.t.Helper()
	v.do("ingest", `SELECT cloakroom.stage($1)`, d.Name)
	v.do("ingest", `BEGIN`)
	stage()
	_, err := v.sessions["ingest"].ExecContext(v.t.Context(), `
		SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), clock_timestamp(), $1, ARRAY[$2::integer], ARRAY[$3::bytea])`,
		d.Name, key, v.check)
	v.do("ingest", `COMMIT`) // of a failed transaction: a rollback
	return err
}

func (v *twoDatasets) stageRejection(d *dataset.Dataset, key int) {
	v.t.Helper()
	v.do("ingest", fmt.Sprintf(`INSERT INTO pg_temp.stage_rejections_%s
		(message_id, sent, reason, subject, create_date, receive_count, sealed_body, data_key)
		VALUES (gen_random_uuid(), $1, 'bad_date', $2, $3, 1, $4, $5)`, d.Name),
		v.now, subject, v.now.Format(time.DateOnly), sealed(key), key)
}
