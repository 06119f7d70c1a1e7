package etl_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// hostClock is a host's clock that a test sets.
type hostClock struct{ ahead atomic.Int64 }

func (c *hostClock) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

func (c *hostClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// writerWithClock is a writer whose host has the clock of the result.
func writerWithClock(t *testing.T, env *keystest.Env) (*etl.Writer, *hostClock) {
	t.Helper()
	clock := &hostClock{}
	vault := env.Vault(t, env.As(t, "ingest", "ingest"))
	vault.Clock = clock.now
	w, err := etl.NewWriter(t.Context(), vault, nil, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	return w, clock
}

func loginsOf(day int) []*etl.Message {
	messages := etltest.Logins(0, 20)
	for _, m := range messages {
		m.Sent = m.Sent.AddDate(0, 0, day)
	}
	return messages
}

// A database that is three days slow refuses nothing for good: the events are held, and the run
// ends as in any outage.
func TestSlowDatabaseIsAnOutage(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w, clock := writerWithClock(t, env)
	// It is the host and the queue that are ahead, which is the same.
	clock.set(3 * 24 * time.Hour)
	said := ""
	s, err := etl.Run(t.Context(), w, etltest.NewSource(loginsOf(3)), etl.Options{
		MaxOutage: time.Second, Log: slog.New(slog.DiscardHandler), Holding: func(_ string, err error) { said = err.Error() },
	})
	if !pg.IsUnavailable(err) || pg.Code(err) != pg.ClocksDiffer || s.Abandoned != 20 || s.Rejected != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if said == "" {
		t.Error("nobody was told")
	}
	if n := len(etltest.NewOpener(t, env).Rejections(t)); n != 0 {
		t.Errorf("%d rejections, want none: the events are good", n)
	}
}

// What a wrong clock judged is judged again once the clocks agree.
func TestClockIsMended(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{
		"slow host": -3 * 24 * time.Hour, "fast host": 40 * 24 * time.Hour, "by six minutes": 6 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := keystest.New(t)
			env.Open(t, "").MustExec(`UPDATE cloakroom.settings SET days_back = 30`)
			w, clock := writerWithClock(t, env)
			clock.set(ahead)
			held := 0
			var log bytes.Buffer
			s := etltest.Run(t, w, etltest.NewSource(loginsOf(0)), etl.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Holding: func(_ string, err error) {
				if pg.Code(err) != pg.ClocksDiffer {
					t.Errorf("holding: %v", err)
				}
				if held++; held == 3 {
					clock.set(0)
				}
			}})
			if s.Stored != 20 || held < 3 {
				t.Errorf("%+v after %d tries", s, held)
			}
			// It is said once that events are held, and once that they no longer are.
			for line, want := range map[string]int{`msg="holding events"`: 1, "the clocks differ": 1, `msg="the outage is over" lasted=`: 1, "held=20": 1} {
				if n := strings.Count(log.String(), line); n != want {
					t.Errorf("the log has %s %d times, want %d:\n%s", line, n, want, &log)
				}
			}
		})
	}
}

// A writer does not begin where the clocks differ.
func TestNewWriterComparesClocks(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	vault := env.Vault(t, env.As(t, "ingest", "ingest"))
	for _, ahead := range []time.Duration{-time.Hour, -4 * time.Minute, 4 * time.Minute, time.Hour} {
		vault.Clock = func() time.Time { return time.Now().Add(ahead) }
		_, err := etl.NewWriter(t.Context(), vault, nil, keys.Caps{})
		if differ := ahead.Abs() > 5*time.Minute; differ != (pg.Code(err) == pg.ClocksDiffer) || !differ && err != nil {
			t.Errorf("a clock that is %v ahead: %v", ahead, err)
		}
	}
}

// A policy that was narrowed under a running writer makes bad_date of what it excludes, as it says,
// and not db_data.
func TestPolicyIsNarrowed(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	w, _ := writerWithClock(t, env)
	env.Open(t, "").MustExec(`UPDATE cloakroom.settings SET days_back = 30`)
	messages := loginsOf(-40) // of a month for which there is no data key yet
	messages = append(messages, etltest.Login(100))
	s := etltest.Run(t, w, etltest.NewSource(messages), etl.Options{})
	if s.Stored != 1 || s.Rejections[etl.BadDate] != 20 {
		t.Errorf("%+v, want 20 bad_date", s)
	}
}
