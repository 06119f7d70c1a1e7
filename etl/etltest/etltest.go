// Package etltest gives a test of the ETL a source in memory, a writer on a vault of its own, and
// what is stored, opened.
package etltest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/crypto/envelope"
	"cloakroom/etl"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// NewWriter is a writer of a new login that holds the role ingest.
func NewWriter(t testing.TB, env *keystest.Env, login string) *etl.Writer {
	t.Helper()
	return WriterAt(t, env, env.As(t, login, "ingest"), keys.Caps{})
}

// WriterAt is a writer at a database URL.
func WriterAt(t testing.TB, env *keystest.Env, url string, caps keys.Caps) *etl.Writer {
	t.Helper()
	w, err := etl.NewWriter(context.Background(), env.Vault(t, url), nil, caps)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Today is the current date, UTC.
func Today() time.Time { return time.Now().UTC().Truncate(24 * time.Hour) }

// Message is an event of today whose id follows from n. Not by SHA-1, which a test may run without
// (fips140=only).
func Message(n int, body string) *etl.Message {
	id := uuid.NewHash(sha256.New(), uuid.Nil, fmt.Appendf(nil, "etltest %d", n), 8)
	return &etl.Message{ID: id, Sent: Today(), DayOnly: true, Body: []byte(body), Receives: 1}
}

// Login is message n with a login of its own: every n has its own user, address and device.
func Login(n int) *etl.Message { return Message(n, LoginBody(n)) }

// LoginBody is the body of Login.
func LoginBody(n int) string {
	return fmt.Sprintf(`{"user_id":"user-%d","ip":"10.%d.%d.%d","device_id":"device-%d","device_type":"android","locale":"RU","app_version":"2.3.%d"}`,
		n, n>>16&255, n>>8&255, n&255, n, n%1000)
}

// Logins are the messages from first up to and without end.
func Logins(first, end int) []*etl.Message {
	var out []*etl.Message
	for n := first; n < end; n++ {
		out = append(out, Login(n))
	}
	return out
}

// Source hands over parts, one a Receive, and then io.EOF. It is safe for concurrent use.
type Source struct {
	// Before is called before part n is handed over; may be nil.
	Before func(n int)

	mu    sync.Mutex
	parts [][]*etl.Message
	next  int
}

// NewSource is a source of the given parts.
func NewSource(parts ...[]*etl.Message) *Source { return &Source{parts: parts} }

// Parts cuts messages into parts of a size, for NewSource.
func Parts(messages []*etl.Message, size int) [][]*etl.Message {
	var parts [][]*etl.Message
	for len(messages) > size {
		parts = append(parts, messages[:size])
		messages = messages[size:]
	}
	return append(parts, messages)
}

// Receive hands over the next part.
func (s *Source) Receive(context.Context) ([]*etl.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next >= len(s.parts) {
		return nil, io.EOF
	}
	if s.Before != nil {
		s.Before(s.next)
	}
	s.next++
	return s.parts[s.next-1], nil
}

// Run runs a source to its end and fails the test where that fails, or where the summary does not
// add up. Unless the options say otherwise it logs nothing, and an outage ends it after ten
// seconds.
func Run(t testing.TB, w *etl.Writer, source etl.Source, o etl.Options) etl.Summary {
	t.Helper()
	if o.MaxOutage == 0 {
		o.MaxOutage = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := etl.Run(context.Background(), w, source, o)
	if err != nil {
		t.Fatalf("running: %v (%+v)", err, s)
	}
	var rejected int64
	for _, n := range s.Rejections {
		rejected += n
	}
	if s.Abandoned != 0 || rejected != s.Rejected || s.Received != s.Stored+s.Duplicates+s.Rejected {
		t.Fatalf("the summary does not add up: %+v", s)
	}
	s.Seconds = 0
	return s
}

// Row is a stored login, opened.
type Row struct {
	UserID                 string
	DeviceType, Locale     sql.NullString
	Version                sql.NullInt32
	VersionText            sql.NullString
	IP, DeviceID           string
	IPToken, DeviceIDToken string
	Date                   time.Time
	DataKey                uint32
}

// Rejected is a stored rejection, opened.
type Rejected struct {
	Dataset string
	Reason  etl.Reason
	Member  string
	UserID  sql.NullString // the subject
	Date    sql.NullTime
	Body    []byte
	DataKey uint32
}

// Opener opens what is stored: as superuser for the rows, as rotator for the keys.
type Opener struct {
	env  *keystest.Env
	ring *keys.Keyring
	id   uuid.UUID
}

// NewOpener makes an opener.
func NewOpener(t testing.TB, env *keystest.Env) *Opener {
	t.Helper()
	v := env.Vault(t, env.As(t, "opener", "rotator"))
	s, err := v.Settings(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &Opener{env: env, ring: keys.NewKeyring(v, s, nil), id: s.ID}
}

// Rows opens every stored login, by message id.
func (o *Opener) Rows(t testing.TB) map[uuid.UUID]Row {
	t.Helper()
	rows, err := o.env.Open(t, "").Query(`
		SELECT row_id, create_date, user_id, device_type, locale, app_version, app_version_text,
		       sealed_ip, sealed_device_id, masked_ip_v1, masked_device_id_v1, data_key FROM cloakroom_data.user_logins`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[uuid.UUID]Row{}
	for rows.Next() {
		var r Row
		var id uuid.UUID
		var ip, device []byte
		if err := rows.Scan(&id, &r.Date, &r.UserID, &r.DeviceType, &r.Locale, &r.Version, &r.VersionText,
			&ip, &device, &r.IPToken, &r.DeviceIDToken, &r.DataKey); err != nil {
			t.Fatal(err)
		}
		place := envelope.Place{Vault: o.id, Dataset: "login", Row: id, Date: r.Date.Format(time.DateOnly), Subject: r.UserID}
		place.Field = "ip"
		r.IP = string(o.open(t, r.DataKey, &place, 48, ip))
		place.Field = "device_id"
		r.DeviceID = string(o.open(t, r.DataKey, &place, 32, device))
		out[id] = r
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Rejections opens every stored rejection, by message id.
func (o *Opener) Rejections(t testing.TB) map[uuid.UUID]Rejected {
	t.Helper()
	rows, err := o.env.Open(t, "").Query(`SELECT message_id, dataset, reason, coalesce(member, ''), subject, create_date, sealed_body, data_key FROM cloakroom.rejections`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[uuid.UUID]Rejected{}
	for rows.Next() {
		var r Rejected
		var id uuid.UUID
		var body []byte
		if err := rows.Scan(&id, &r.Dataset, &r.Reason, &r.Member, &r.UserID, &r.Date, &body, &r.DataKey); err != nil {
			t.Fatal(err)
		}
		place := envelope.Place{Vault: o.id, Dataset: r.Dataset, Field: "body", Row: id}
		r.Body = o.open(t, r.DataKey, &place, 32, body)
		out[id] = r
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func (o *Opener) open(t testing.TB, id uint32, place *envelope.Place, pad int, sealed []byte) []byte {
	t.Helper()
	key, err := o.ring.Key(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Open(nil, nil, place, pad, sealed)
	if err != nil {
		t.Fatalf("%s of row %x: %v", place.Field, place.Row, err)
	}
	return text
}
