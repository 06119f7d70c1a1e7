package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
	recovery "cloakroom/recover"
)

// state is the state of each actor when a rotator, an ingester and an auditor begin at once.
type state struct {
	Ingester string // its data key: none (cold), one in hand (warm), one that was closed since (stale)
	Auditor  string // its keys: none (cold), all in hand (warm), none but a request made before (asked)
	Vault    string // nothing to do (tidy), keys closed and not empty (closed), a step interrupted
	Step     string // what the rotator does
}

func everyState() []state {
	var all []state
	for _, ingester := range []string{"cold", "warm", "stale"} {
		for _, auditor := range []string{"cold", "warm", "asked"} {
			for _, vault := range []string{"tidy", "closed", "interrupted"} {
				for _, step := range []string{"reseal", "reindex", "rewrap"} {
					all = append(all, state{ingester, auditor, vault, step})
				}
			}
		}
	}
	return all
}

// statesFor bounds the short form of TestEveryState. The order is random, so another run tries
// other states.
const (
	statesFor   = 8 * time.Second
	leastStates = 9
)

// TestEveryState goes through 81 states (Asherah's idea: cache × vault × rotation). In each, a
// rotator, an ingester and an auditor act at once, while an analyst counts. Then everything is
// opened: nothing is lost or stored twice, every token is right, equal values have equal tokens at
// every instant, and a look-up by value finds every row.
func TestEveryState(t *testing.T) {
	t.Parallel()
	w := newStates(t)
	all := everyState()
	w.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	began, done := time.Now(), 0
	for _, at := range all {
		if *chaosKills > 0 && time.Since(began) > statesFor && done >= leastStates {
			break
		}
		if w.act(at); t.Failed() {
			t.Fatalf("seed %d, in state %+v, number %d", w.seed, at, done+1)
		}
		done++
	}
	t.Logf("seed %d: %d of %d states (-chaos.kills=0 tries all), %d rows, %d keys rotated away", w.seed, done,
		len(all), len(w.there),
		w.count(t, `SELECT count(*) FROM cloakroom.data_keys WHERE state = 'retired'`))
}

// states is a vault and its actors.
type states struct {
	*fixture
	t       *testing.T
	seed    uint64
	random  *rand.Rand
	keks    [2]string
	to      int // the KEK of the last rewrap
	old     *etl.Writer
	ingests *keys.Vault
	auditor *recovery.Client
	analyst *sqlx.DB

	mu    sync.Mutex
	sent  int            // events given to ingest
	there map[int]string // rows committed: number to device
}

const devicesOfStates = 4

func stateLogin(n int) *etl.Message {
	return etltest.Message(n, fmt.Sprintf(`{"user_id":"user-%d","ip":"10.8.%d.%d","device_id":"device %d"}`, n,
		n>>8&255, n&255, n%devicesOfStates))
}

func newStates(t *testing.T) *states {
	t.Helper()
	env := keystest.New(t)
	w := &states{t: t, seed: *chaosSeed, keks: [2]string{env.KEK, keystest.WriteKEK(t,
		[]byte("cloakroom states: another KEK..."))}, there: map[int]string{}}
	if w.seed == 0 {
		w.seed = rand.Uint64()
	}
	w.random = rand.New(rand.NewPCG(w.seed, 81))
	env.AddKEK(t, w.keks[1])
	env.KEK = w.keks[0] + "," + w.keks[1]
	w.fixture = fixtureOf(t, env, 0)
	w.old = w.writer
	w.ingests = env.Vault(t, env.As(t, "ingest2", "ingest"))
	w.auditor = &recovery.Client{Vault: env.Vault(t, env.As(t, "auditor", "auditor"))}
	w.analyst = env.Pool(t, env.As(t, "analyst", "analyst"))
	w.count(t, `SELECT 1`)
	w.super.MustExec(`UPDATE cloakroom.settings SET approvals = 0, row_limit = 100000, daily_quota = 100000000`)
	w.load(w.old, 40)
	return w
}

// load ingests n new events.
func (w *states) load(writer *etl.Writer, n int) {
	w.mu.Lock()
	first := w.sent
	w.sent += n
	w.mu.Unlock()
	var messages []*etl.Message
	for i := range n {
		messages = append(messages, stateLogin(first+i))
	}
	s, err := etl.Run(context.Background(), writer, etltest.NewSource(messages),
		etl.Options{MaxOutage: 10 * time.Second, Log: slog.New(slog.DiscardHandler), BatchDelay: time.Millisecond})
	if err != nil || s.Stored != int64(n) {
		w.t.Errorf("ingesting: %+v (%v)", s, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range n {
		w.there[first+i] = fmt.Sprintf("device %d", (first+i)%devicesOfStates)
	}
}

// committed is how many rows of a device are stored, and the number of one of them.
func (w *states) committed(device string) (rows, one int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, d := range w.there {
		if d == device {
			rows, one = rows+1, n
		}
	}
	return rows, one
}

// act brings every actor into its state, lets all act at once, and checks the result.
func (w *states) act(at state) {
	w.setUp(at.Vault)
	writer := w.old // its key is of an older epoch
	switch at.Ingester {
	case "warm":
		w.load(writer, 1)
	case "cold":
		var err error
		if writer, err = etl.NewWriter(w.t.Context(), w.ingests, nil, keys.Caps{}); err != nil {
			w.t.Fatal(err)
		}
	}
	audit := w.audits(at.Auditor)
	if w.t.Failed() {
		return
	}
	counting, stop := context.WithCancel(w.t.Context())
	var all errgroup.Group
	all.Go(func() error {
		if looks, wrong := w.analystLooks(counting); wrong != "" || looks == 0 {
			return fmt.Errorf("an analyst, after %d looks: %s", looks, wrong)
		}
		return nil
	})
	var actors errgroup.Group
	actors.Go(func() error { return w.rotate(w.t.Context(), at.Step) })
	actors.Go(func() error {
		for range 2 {
			w.load(writer, 3)
		}
		return nil
	})
	actors.Go(audit)
	err := actors.Wait()
	stop()
	if err := errors.Join(err, all.Wait()); err != nil {
		w.t.Error(err)
	}
	w.verify(w.t, len(w.there))
	if n := w.count(w.t, `SELECT count(*) FROM cloakroom_data.user_logins u JOIN cloakroom.data_keys k ON k.id = u.data_key WHERE k.state IN ('retired', 'shredded')`); n > 0 {
		w.t.Errorf("%d rows need a key that is gone", n)
	}
}

func (w *states) setUp(vault string) {
	switch vault {
	case "tidy":
		// Finish what an earlier state left.
		for _, step := range []string{"reindex", "reseal"} {
			if step == "reindex" && w.count(w.t,
				`SELECT count(*) FROM cloakroom.rotations WHERE step = 'reindex' AND state = 'running'`) == 0 {
				continue
			}
			if err := w.rotate(w.t.Context(), step); err != nil {
				w.t.Fatal(err)
			}
		}
	case "closed":
		if _, err := w.vault.DB.Exec(`SELECT cloakroom.close_data_keys(now())`); err != nil {
			w.t.Fatal(err)
		}
	case "interrupted":
		step := []string{"reseal", "reindex"}[w.random.IntN(2)]
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Duration(w.random.IntN(120))*time.Millisecond)
		defer cancel()
		if err := w.rotate(ctx, step); err != nil && ctx.Err() == nil {
			w.t.Fatal(err)
		}
	}
}

func (w *states) rotate(ctx context.Context, step string) error {
	o := rotation.Options{BatchRows: 25, Rest: -1, Log: slog.New(slog.DiscardHandler), Force: true}
	var err error
	switch step {
	case "reseal":
		_, err = rotation.Reseal(ctx, w.vault, o)
	case "reindex":
		_, err = rotation.Reindex(ctx, w.vault, o)
	case "rewrap":
		w.to = 1 - w.to
		_, err = rotation.Rewrap(ctx, w.vault, w.keks[w.to], o)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

// analystLooks counts until ctx ends: never more tokens than devices, no row without a token, as many rows as users.
func (w *states) analystLooks(ctx context.Context) (looks int, wrong string) {
	for ; looks == 0 || ctx.Err() == nil; looks++ {
		var got struct {
			Tokens  int `db:"tokens"`
			Missing int `db:"missing"`
			Logins  int `db:"logins"`
			Users   int `db:"users"`
		}
		err := w.analyst.Get(&got, `SELECT count(DISTINCT masked_device_id) AS tokens, count(*) FILTER (WHERE masked_device_id IS NULL OR masked_ip IS NULL) AS missing,
			count(*) AS logins, count(DISTINCT user_id) AS users FROM public.user_logins`)
		switch {
		case pg.Code(err) == "55P03" || errors.Is(err, io.ErrUnexpectedEOF):
			continue
		case err != nil:
			return looks, err.Error()
		case got.Tokens != devicesOfStates || got.Missing > 0 || got.Logins != got.Users:
			return looks, fmt.Sprintf("%+v", got)
		}
	}
	return looks, ""
}
