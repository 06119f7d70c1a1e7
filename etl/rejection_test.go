package etl_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// Whatever stands in an event, or in what its server says of it, the event becomes a row or a
// rejection: alone, and inside a full batch, whose other events are stored.
func TestNothingMakesARejectionImpossible(t *testing.T) {
	t.Parallel()
	type event struct {
		change func(*etl.Message)
		want   etl.Reason // "": a row
	}
	sent := func(millis int64) func(*etl.Message) {
		return func(m *etl.Message) {
			m.Sent = time.UnixMilli(millis).UTC()
		}
	}
	body := func(format string, args ...any) func(*etl.Message) {
		return func(m *etl.Message) { m.Body = fmt.Appendf(nil, format, args...) }
	}
	receives := func(n int) func(*etl.Message) { return func(m *etl.Message) { m.Receives = n } }
	with := func(changes ...func(*etl.Message)) func(*etl.Message) {
		return func(m *etl.Message) {
			for _, change := range changes {
				change(m)
			}
		}
	}
	events := map[string]event{
		"sent in the year 5874897":        {sent(185_542_587_100_800_000), etl.BadDate},
		"sent a year later":               {sent(185_542_587_100_800_000 + 366*86_400_000), etl.BadDate},
		"sent at the end of int64":        {sent(math.MaxInt64), etl.BadDate},
		"sent at its beginning":           {sent(math.MinInt64), etl.BadDate},
		"sent in 4714 BC":                 {sent(-210_895_056_000_000), etl.BadDate},
		"sent in the year 10000":          {sent(253_402_300_800_000), etl.BadDate},
		"sent in the year 0":              {sent(-62_167_219_200_000), etl.BadDate},
		"received 2^31 times":             {receives(1 << 31), ""},
		"received 2^31 times and no JSON": {with(receives(1<<31), body("no JSON")), etl.NotJSON},
		"received 2^63-1 times":           {with(receives(math.MaxInt64), body("no JSON")), etl.NotJSON},
		"received -2^63 times":            {with(receives(math.MinInt64), body("no JSON")), etl.NotJSON},
		"everything at once":              {with(sent(math.MaxInt64), receives(math.MaxInt64), body("\x00\xff")), etl.InvalidUTF8},
		"an id of zeros":                  {func(m *etl.Message) { m.ID = [16]byte{} }, ""},
		"an id of ones":                   {func(m *etl.Message) { m.ID = [16]byte(bytes.Repeat([]byte{255}, 16)) }, ""},
		"an empty body":                   {body(""), etl.NotJSON},
		"a body of zeros":                 {body("%s", make([]byte, 1000)), etl.NotJSON},
		"a subject and no more":           {body(`{"user_id":"%s"}`, bytes.Repeat([]byte("😀"), 128)), etl.MissingField},
		"a subject with a backslash":      {body(`{"user_id":"a\\N\t\\.\n"}`), etl.MissingField},
		"a subject with a NUL":            {body(`{"user_id":"a\u0000"}`), etl.NUL},
		"a subject that is too long":      {body(`{"user_id":"%s"}`, bytes.Repeat([]byte("a"), 129)), etl.TooLong},
		"a body of a megabyte":            {body("%s", bytes.Repeat([]byte(`\`), 1<<20)), etl.NotJSON},
	}
	// A subject that the database refuses, in the row and in the rejection.
	for name, text := range map[string]string{
		"a subject that no row may have":           `{"user_id":"poison","ip":"10.0.0.1","device_id":"d"}`,
		"a subject that no rejection may have":     `{"user_id":"venom"}`,
		"a subject that neither row nor rejection": `{"user_id":"venom-poison","ip":"10.0.0.1","device_id":"d"}`,
	} {
		want := etl.DBData
		events[name] = event{body("%s", text), want}
	}
	// judge runs a batch and looks at what became of one event of it.
	judge := func(t *testing.T, e event, others int) {
		env := keystest.New(t)
		env.Open(t, "").MustExec(`
			ALTER TABLE cloakroom_data.user_logins ADD CHECK (user_id NOT LIKE '%poison%');
			ALTER TABLE cloakroom.rejections ADD CHECK (subject NOT LIKE 'venom%')`)
		messages := etltest.Logins(1, 1+others)
		m := etltest.Login(0)
		e.change(m)
		messages = append(messages[:others/2:others/2], append([]*etl.Message{m}, messages[others/2:]...)...)
		s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{
			MaxOutage: 5 * time.Second, Log: slog.New(slog.DiscardHandler), BatchRows: 100,
		})
		opener := etltest.NewOpener(t, env)
		if e.want == "" {
			if _, ok := opener.Rows(t)[m.ID]; !ok || s.Stored != int64(others+1) {
				t.Errorf("%+v: the event is no row", s)
			}
			return
		}
		r, ok := opener.Rejections(t)[m.ID]
		if !ok || r.Reason != e.want || !bytes.Equal(r.Body, m.Body) {
			t.Errorf("%+v: the rejection is %v %s, want %s, and the body as it was sent", s, ok, r.Reason, e.want)
		}
		if s.Stored != int64(others) {
			t.Errorf("%+v: want %d stored", s, others)
		}
	}
	for name, e := range events {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			judge(t, e, 0)
			judge(t, e, 99)
		})
	}
}
