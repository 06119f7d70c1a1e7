package rotation_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
)

var (
	chaosKills = flag.Int("chaos.kills", 15,
		"how often TestChaos kills a rotator, spread over all steps; 0 is the long form (make chaos): at every "+
			"place of each, and every state of TestEveryState")
	chaosSeed = flag.Uint64("chaos.seed", 0, "repeats a run of TestChaos or TestEveryState; 0: another each time")
)

// chaosOrders in the environment make TestChaosChild a rotator.
const chaosOrders = "CLOAKROOM_TEST_CHAOS_ORDERS"

// orders are what a rotator is to do, and where it kills itself.
type orders struct {
	URL, OwnerURL, KEK string
	Step               string
	To                 string    // of rewrap
	Request            uuid.UUID // of forget
	Place              int       // counted from 1
}

// places counts the places at which a rotator may be killed: before and after each statement and
// commit, and after each call to the KEK. It calls at with each.
type places struct {
	mu sync.Mutex
	n  int
	at func(place int)
}

func (p *places) pass(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	if p.at != nil {
		p.at(p.n)
	}
}

// KEKRequest implements kek.Observer.
func (p *places) KEKRequest(operation string, _ error) { p.pass(operation) }

// TestChaosChild is the rotator that TestChaos kills. It is not a test of its own.
func TestChaosChild(t *testing.T) {
	text := os.Getenv(chaosOrders)
	if text == "" {
		t.Skip("TestChaos runs it")
	}
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	here := &places{at: func(place int) {
		if place == o.Place {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it arrives
		}
	}}
	set, err := kek.Open(t.Context(), o.KEK)
	if err != nil {
		t.Fatal(err)
	}
	set.Observe = here
	db, err := pg.Open(pg.Config{URL: o.URL})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := pg.Open(pg.Config{URL: o.OwnerURL, Role: pg.Owner, StatementTimeout: -1, LockTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	options := rotation.Options{Workers: 1, BatchRows: 40, Owner: owner}.WithHook(here.pass)
	if err := o.run(t.Context(), &keys.Vault{DB: db, KEK: set}, options); err != nil {
		t.Fatal(err)
	}
}

func (o orders) run(ctx context.Context, v *keys.Vault, options rotation.Options) error {
	var err error
	options.Log = slog.New(slog.DiscardHandler)
	switch o.Step {
	case "rotate":
		options.Force = true
		_, err = rotation.Rotate(ctx, v, options)
	case "reindex":
		_, err = rotation.Reindex(ctx, v, options)
	case "rewrap":
		_, err = rotation.Rewrap(ctx, v, o.To, options)
	case "shred":
		_, err = rotation.Shred(ctx, v, keys.MonthOf(etltest.Today()).AddDate(0, -1, 0), options)
	case "forget":
		_, _, err = rotation.Forget(ctx, v, o.Request, options)
	default:
		err = fmt.Errorf("no step %q", o.Step)
	}
	return err
}

// chaosSteps is the order in which converge finishes steps.
var chaosSteps = []string{"shred", "rotate", "reindex", "forget", "rewrap"}

// TestChaos kills rotators at many places, then runs the steps to their end. Every row opens,
// tokens are right, no key that a row needs is gone, and the people to forget are forgotten.
func TestChaos(t *testing.T) {
	t.Parallel()
	c := newChaos(t)
	killed := map[string]int{}
	for n, o := range c.plan(c.countPlaces(t)) {
		c.prepare(t, &o)
		// With less to do than when places were counted, a run can end before its place.
		dead := c.kill(t, o)
		for ; !dead && *chaosKills > 0; dead = c.kill(t, o) {
			o.Place = 1 + c.random.IntN(o.Place)
		}
		if dead {
			killed[o.Step]++
		}
		// Ingest goes on after every kill.
		c.add(t, 5)
		if n%3 == 2 {
			c.converge(t)
		}
	}
	c.converge(t)
	t.Logf("seed %d: killed %v, %d rows, %d forgotten", c.seed, killed, c.stored, c.forgotten)
	if *chaosKills > 0 {
		t.Logf("short form: %d kills; -chaos.kills=0 (make chaos) kills at every place", *chaosKills)
	}
}

// plan says where rotators are killed: at every place, or at random places spread evenly over each
// step.
func (c *chaos) plan(places map[string]int) []orders {
	var plan []orders
	if *chaosKills == 0 {
		for _, step := range chaosSteps {
			for place := range places[step] {
				plan = append(plan, orders{Step: step, Place: 1 + place})
			}
		}
		return plan
	}
	rounds := (*chaosKills + len(chaosSteps) - 1) / len(chaosSteps)
	first := c.random.Float64()
	for n := range *chaosKills {
		step := chaosSteps[n%len(chaosSteps)]
		at := (float64(n/len(chaosSteps)) + first) / float64(rounds) // in [0, 1)
		plan = append(plan, orders{Step: step, Place: 1 + int(at*float64(places[step]))})
	}
	return plan
}

// visits is a dataset beside login that has what login has not: an id, a time, a partition a day, several indexes of a
// member, one that is sealed alone, values that may be NULL and values that mean none.
const visits = `
dataset: visit
table: visits
subject: who
id: number
time: at
partition: day
members:
  - {name: who, type: text, max: 64, required: true}
  - {name: number, type: text, max: 64, required: true}
  - {name: at, type: timestamp, required: true}
  - {name: address, type: ip, required: true, protect: {index: [exact, prefix/24], reveal: network}}
  - {name: mail, type: text, max: 64, protect: {normalise: [trim, casefold], index: [exact, domain], nothing: [none]}}
  - {name: note, type: json, protect: {index: []}}
`

// visit is the visit of login n's user, two of three days apart, some months ago.
func visit(n, months int) *etl.Message {
	at := etltest.Today().AddDate(0, 0, -n%3)
	if months > 0 {
		at = keys.MonthOf(etltest.Today()).AddDate(0, -months, 3+n%2)
	}
	mail := []string{`"mail":"A@example.org",`, `"mail":"none",`, ``}[n%3]
	return etltest.Message(1_000_000+n, fmt.Sprintf(`{"who":"user-%d","number":"v-%[1]d","at":%q,"address":"10.2.%d.%d",%s"note":[%[1]d]}`,
		n, at.Format(time.RFC3339), n>>8&255, n&255, mail))
}

// addVisits makes the dataset visit in a vault, and a writer of it.
func addVisits(t *testing.T, env *keystest.Env) *etl.Writer {
	t.Helper()
	if _, err := keys.ApplyDataset(t.Context(), env.URL(""), parse(t, visits)); err != nil {
		t.Fatal(err)
	}
	w, err := etl.NewWriter(t.Context(), env.Vault(t, env.As(t, "visits", "ingest")), []string{"visit"}, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// chaos is a vault whose rotators are killed. Its two datasets have the same people, and as many rows of each.
type chaos struct {
	*fixture
	visits    *etl.Writer
	url       string // of the rotators that are killed
	keks      [2]string
	to        string // the KEK of the last rewrap that converge ran
	seed      uint64
	random    *rand.Rand
	stored    int // rows of each dataset, of this month: user-0 and so on
	forgotten int // of them: user-100 and so on
	old       int // rows of each dataset, of a month to shred
	pending   []uuid.UUID
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	env := keystest.New(t)
	c := &chaos{seed: *chaosSeed, keks: [2]string{env.KEK, keystest.WriteKEK(t,
		[]byte("cloakroom chaos: the other KEK. "))}}
	if c.seed == 0 {
		c.seed = rand.Uint64()
	}
	env.Open(t, "").MustExec(`SELECT cloakroom.set_policy('shred_before', $1)`,
		keys.MonthOf(etltest.Today()).AddDate(0, -1, 0).Format(time.DateOnly))
	c.random = rand.New(rand.NewPCG(c.seed, 0))
	env.AddKEK(t, c.keks[1])
	env.KEK = c.keks[0] + "," + c.keks[1]
	c.fixture = fixtureOf(t, env, 120)
	c.visits = addVisits(t, env)
	c.ingestVisits(t, 0, 120, 0)
	c.to = c.keks[0] // the writer's
	c.stored, c.url = 120, c.As(t, "killed", "rotator")
	return c
}

func (c *chaos) add(t *testing.T, n int) {
	t.Helper()
	c.ingest(t, etltest.Logins(c.stored, c.stored+n))
	c.ingestVisits(t, c.stored, c.stored+n, 0)
	c.stored += n
}

func (c *chaos) ingestVisits(t *testing.T, first, end, months int) {
	t.Helper()
	var messages []*etl.Message
	for n := first; n < end; n++ {
		messages = append(messages, visit(n, months))
	}
	if s := etltest.Run(t, c.visits, etltest.NewSource(messages), etl.Options{}); s.Stored != int64(end-first) {
		t.Fatalf("%+v, want %d visits stored", s, end-first)
	}
}

// prepare gives a step something to do.
func (c *chaos) prepare(t *testing.T, o *orders) {
	t.Helper()
	switch o.Step {
	case "shred":
		c.old++
		c.ingest(t, []*etl.Message{old(100000+c.old, 2)})
		c.ingestVisits(t, 100000+c.old, 100001+c.old, 2)
	case "rewrap":
		o.To = c.otherKEK()
	case "forget":
		// user-0 to user-99 are left alone: a rejection names user-1.
		request, err := rotation.RequestForget(t.Context(), c.vault, fmt.Sprintf("user-%d", 100+c.forgotten),
			"DSAR-1", "they asked")
		if err != nil {
			t.Fatal(err)
		}
		c.forgotten++
		c.approve(t, "ann", request)
		c.approve(t, "ben", request)
		o.Request = request
		c.pending = append(c.pending, request)
	}
}

func (c *chaos) otherKEK() string {
	if c.to == c.keks[0] {
		return c.keks[1]
	}
	return c.keks[0]
}

// countPlaces runs every step to its end and counts the places at which each may be killed.
func (c *chaos) countPlaces(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, step := range chaosSteps {
		o := orders{Step: step}
		c.prepare(t, &o)
		here := &places{}
		c.vault.KEK.Observe = here
		if err := o.run(t.Context(), c.vault, rotation.Options{Workers: 1, BatchRows: 40,
			Owner: c.owner(t)}.WithHook(here.pass)); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		c.vault.KEK.Observe = nil
		if found[step] = here.n; here.n < 5 {
			t.Fatalf("%s has only %d places", step, here.n)
		}
	}
	t.Logf("places: %v", found)
	return found
}

// kill runs a step in a process that kills itself at a place. It reports false if the step ended
// before.
func (c *chaos) kill(t *testing.T, o orders) bool {
	t.Helper()
	o.URL, o.OwnerURL, o.KEK = c.url, c.URL(""), c.KEK
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestChaosChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), chaosOrders+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if ctx.Err() == nil && errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("seed %d: %s, to be killed at place %d: %v\n%s", c.seed, o.Step, o.Place, err, out)
	}
	return false
}

// converge finishes what was begun and opens everything.
func (c *chaos) converge(t *testing.T) {
	t.Helper()
	c.to = c.otherKEK()
	for _, step := range chaosSteps {
		todo := []orders{{Step: step, To: c.to}}
		if step == "forget" {
			todo = nil
			for _, request := range c.pending {
				todo = append(todo, orders{Step: step, Request: request})
			}
			c.pending = nil
		}
		for _, o := range todo {
			if err := o.run(t.Context(), c.vault, rotation.Options{Owner: c.owner(t)}); err != nil {
				t.Fatalf("seed %d: finishing %s: %v", c.seed, step, err)
			}
		}
	}
	got, err := verify.Run(t.Context(), c.vault, verify.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if open, erased := 2*(c.stored-c.forgotten), 2*(c.forgotten+c.old); got.Opened != open || got.Erased != erased ||
		got.FailureCount > 0 || got.RejectionsOpened != got.Rejections {
		t.Fatalf("seed %d: verification: %+v, want %d rows open, %d erased", c.seed, got, open, erased)
	}
	for what, query := range map[string]string{
		"CHECKs are not proven of every row": `SELECT count(*) FROM pg_constraint
			WHERE connamespace = 'cloakroom_data'::regnamespace AND NOT convalidated`,
		"rotations have not ended":       `SELECT count(*) FROM cloakroom.rotations WHERE state = 'running'`,
		"rows need a key that is gone":   `SELECT count(*) FROM cloakroom_data.user_logins u JOIN cloakroom.data_keys k ON k.id = u.data_key WHERE k.state IN ('retired', 'shredded')`,
		"visits need a key that is gone": `SELECT count(*) FROM cloakroom_data.visits u JOIN cloakroom.data_keys k ON k.id = u.data_key WHERE k.state IN ('retired', 'shredded')`,
		"visits show what is gone": `SELECT count(*) FROM cloakroom_data.visits
			WHERE data_key IS NULL AND (address__network IS NOT NULL OR sealed_note IS NOT NULL)`,
		"datasets have not as many rows open as the other": `SELECT count(*) FROM (SELECT
			(SELECT count(data_key) FROM cloakroom_data.visits), (SELECT count(data_key) FROM cloakroom_data.user_logins)) AS n(a, b)
			WHERE a <> b`,
		"rejections need a key that is gone": `SELECT count(*) FROM cloakroom.rejections u JOIN cloakroom.data_keys k ON k.id = u.data_key WHERE k.state IN ('retired', 'shredded')`,
		"requests to forget have not ended":  `SELECT count(*) FROM cloakroom.requests WHERE purpose = 'forget' AND state <> 'closed'`,
		"people are not in the log as forgotten exactly once": `SELECT count(*) FROM cloakroom.requests r WHERE purpose = 'forget' AND 1 <> (
			SELECT count(*) FROM cloakroom.audit_leaves WHERE convert_from(leaf,
				'UTF8') LIKE '%"' || r.id || '"%"result":"forgotten"%')`,
		"keys are not under the wanted KEK": `SELECT count(*) FROM cloakroom.wrapped_keys() WHERE kek <> '` + strings.ReplaceAll(c.to, "'", "''") + `'`,
	} {
		if n := c.count(t, query); n != 0 {
			t.Errorf("seed %d: %d %s", c.seed, n, what)
		}
	}
}
