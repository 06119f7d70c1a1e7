package etl_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// refuse makes the database refuse rows with some subjects, as an operator's own constraint might.
func refuse(t *testing.T, env *keystest.Env) {
	t.Helper()
	env.Open(t, "").MustExec(`ALTER TABLE cloakroom_data.user_logins ADD CONSTRAINT no_poison CHECK (user_id NOT LIKE 'poison%')`)
}

func poison(n int) *etl.Message {
	return etltest.Message(n, fmt.Sprintf(`{"user_id":"poison-%d","ip":"10.0.0.1","device_id":"canary-device"}`, n))
}

// One row that the database refuses becomes a rejection; its batch is stored.
func TestBisect(t *testing.T) {
	t.Parallel()
	for name, places := range map[string][]int{
		"none": nil, "first": {0}, "last": {99}, "middle": {50}, "two neighbours": {49, 50}, "every seventh": {6, 13, 20, 27, 34, 41, 48, 55, 62, 69, 76, 83, 90, 97},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			refuse(t, env)
			messages := etltest.Logins(0, 100)
			for _, at := range places {
				messages[at] = poison(at)
			}
			// Something that is a rejection anyway shares the batch.
			messages = append(messages, etltest.Message(100, "hello"))
			var log bytes.Buffer
			s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
			if want := int64(100 - len(places)); s.Stored != want || s.Rejections[etl.DBData] != int64(len(places)) || s.Rejections[etl.NotJSON] != 1 {
				t.Errorf("%+v, want %d stored and %d db_data", s, want, len(places))
			}
			opener := etltest.NewOpener(t, env)
			rejected := opener.Rejections(t)
			for _, at := range places {
				r := rejected[messages[at].ID]
				if r.Reason != etl.DBData || r.UserID.String != fmt.Sprintf("poison-%d", at) || !bytes.Equal(r.Body, messages[at].Body) {
					t.Errorf("the rejection of event %d: %+v", at, r)
				}
			}
			if n := len(opener.Rows(t)); n != int(s.Stored) {
				t.Errorf("%d rows, want %d", n, s.Stored)
			}
			if strings.Contains(log.String(), "canary") || strings.Contains(log.String(), "poison-") {
				t.Errorf("the log quotes an event:\n%s", &log)
			}
			if want := len(places) > 0; strings.Contains(log.String(), "no_poison") != want {
				t.Errorf("the log names the constraint: %v, want %v", !want, want)
			}
		})
	}
}

// A batch of nothing but refused rows ends as well.
func TestBisectAllRefused(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	refuse(t, env)
	var messages []*etl.Message
	for n := range 40 {
		messages = append(messages, poison(n))
	}
	s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{BatchRows: 16})
	if s.Rejections[etl.DBData] != 40 || s.Stored != 0 {
		t.Errorf("%+v", s)
	}
	// Once the operator drops the constraint, the same events are known as rejections: replaying is
	// the auditors' work.
	env.Open(t, "").MustExec(`ALTER TABLE cloakroom_data.user_logins DROP CONSTRAINT no_poison`)
	if again := etltest.Run(t, etltest.NewWriter(t, env, "ingest2"), etltest.NewSource(messages), etl.Options{}); again.Duplicates != 40 {
		t.Errorf("again: %+v", again)
	}
}

// An event is a row or a rejection, whichever came first, never both.
func TestRowOrRejection(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w := etltest.NewWriter(t, env, "ingest")
	bad := func(n int) *etl.Message { return etltest.Message(n, "hello") }
	if s := etltest.Run(t, w, etltest.NewSource([]*etl.Message{etltest.Login(1), bad(2), etltest.Login(3), bad(3)}), etl.Options{}); s.Stored != 2 || s.Rejected != 1 || s.Duplicates != 1 {
		t.Errorf("the first time: %+v", s)
	}
	if s := etltest.Run(t, w, etltest.NewSource([]*etl.Message{bad(1), etltest.Login(2), bad(3), etltest.Login(3)}), etl.Options{}); s.Duplicates != 4 {
		t.Errorf("the other way round: %+v", s)
	}
	opener := etltest.NewOpener(t, env)
	rows, rejections := opener.Rows(t), opener.Rejections(t)
	if len(rows) != 2 || len(rejections) != 1 {
		t.Errorf("rows %v, rejections %v", slices.Collect(maps.Keys(rows)), slices.Collect(maps.Keys(rejections)))
	}
}

// Dates outside the policy's window, and the window's ends.
func TestDateWindow(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	env.Open(t, "").MustExec(`UPDATE cloakroom.settings SET days_back = 40, days_ahead = 2`)
	days := map[int]etl.Reason{-41: etl.BadDate, -40: "", 0: "", 2: "", 3: etl.BadDate, -700_000: etl.BadDate, 2_000_000: etl.BadDate}
	var messages []*etl.Message
	want := map[int]etl.Reason{}
	for day, reason := range days {
		m := etltest.Login(len(messages))
		m.Sent = etltest.Today().AddDate(0, 0, day)
		want[len(messages)] = reason
		messages = append(messages, m)
	}
	etltest.Run(t, etltest.NewWriter(t, env, "ingest"), etltest.NewSource(messages), etl.Options{})
	opener := etltest.NewOpener(t, env)
	rows, rejections := opener.Rows(t), opener.Rejections(t)
	for n, m := range messages {
		_, stored := rows[m.ID]
		if stored != (want[n] == "") || rejections[m.ID].Reason != want[n] {
			t.Errorf("dated %s: stored %v, rejected %q; want %q", m.Sent.Format("2006-01-02"), stored, rejections[m.ID].Reason, want[n])
		}
	}
}
