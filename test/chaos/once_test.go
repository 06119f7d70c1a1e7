package chaos

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// hold receives messages as a process would that is killed right afterwards.
func (r *rig) hold(messages, seconds int) {
	r.Helper()
	body := `{"QueueUrl":"` + r.sqs.QueueURL(queueName) + `","MaxNumberOfMessages":` + string(
		rune('0'+messages)) + `,"VisibilityTimeout":` + string(rune('0'+seconds)) + `}`
	r.must(post(r.sqs.URL(), "AmazonSQS.ReceiveMessage", strings.NewReader(body)))
}

func TestOnceEndsWhenTheQueueIsEmpty(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.send(100)
	p := r.once()
	p.exit(20*time.Second, 0)
	if out := p.out.String(); !strings.Contains(out,
		"100 received · 93 stored · 2 duplicates dropped · 5 rejected (missing_field 5)") {
		t.Errorf("it printed %q", out)
	}
	if !r.drained() {
		t.Errorf("the queue counts %+v", r.sqs.Counts(queueName))
	}
	r.ledger()
}

func TestOnceWaitsForWhatOthersHold(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.send(20)
	r.hold(5, 5)
	r.once("--once-wait", "10s").exit(30*time.Second, 0)
	r.ledger()
}

func TestOnceNamesWhatIsLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.send(20)
	r.hold(3, 9)
	p := r.once("--once-wait", "2s")
	p.exit(20*time.Second, 2)
	if out := p.out.String(); !strings.Contains(out, "3 invisible, 0 delayed") || !strings.Contains(out, "run again") ||
		!strings.Contains(out, "17 received") {
		t.Errorf("it printed %q", out)
	}
	r.once("--once-wait", "15s").exit(30*time.Second, 0)
	r.ledger()
}

func TestOnceStopped(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	stop := r.feed(500)
	p := r.once()
	r.eventually("events are stored", 20*time.Second, func() bool { return r.stored() > 0 })
	p.signal(syscall.SIGTERM)
	p.exit(20*time.Second, 2)
	stop()
	r.once().exit(30*time.Second, 0)
	r.ledger()
}

// An outage ends --once with the code of what is away.
func TestOnceGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.send(100)
	r.admin.MustExec(`CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$;
		GRANT EXECUTE ON FUNCTION public.full_disk() TO PUBLIC;
		CREATE TRIGGER full_disk BEFORE INSERT ON cloakroom_data.user_logins FOR EACH ROW EXECUTE FUNCTION public.full_disk()`)
	p := r.once("--max-outage", "2s")
	p.exit(20*time.Second, 8)
	// A poll that was under way when the run gave up may have taken ten of those just given back, for a visibility
	// timeout.
	if c := r.sqs.Counts(queueName); c.Visible < 90 {
		t.Errorf("the queue counts %+v, want all 100 given back", c)
	}
	r.eventually("all are given back", 10*time.Second, func() bool { return r.sqs.Counts(queueName).Visible == 100 })
	r.admin.MustExec(`DROP TRIGGER full_disk ON cloakroom_data.user_logins`)

	cancel := r.sqs.Inject(deletesFail)
	p = r.once("--max-outage", "3s", "--visibility-timeout", "4s")
	p.exit(40*time.Second, 1)
	if out := p.out.String(); !strings.Contains(out, "neither committed nor deleted") {
		t.Errorf("it printed %q", out)
	}
	cancel()
	p = r.once("--once-wait", "10s")
	p.exit(40*time.Second, 0)
	r.ledger()
}

// ingest --once is killed at twenty random moments and then left to end.
func TestOnceKilledTwentyTimes(t *testing.T) {
	t.Parallel()
	seed, random := seeded(t)
	r := newRig(t, nil)
	kills := 0
	for kills < 20 {
		r.send(200)
		p := r.once()
		time.Sleep(between(random, 20*time.Millisecond, 900*time.Millisecond))
		if p.running() {
			kills++
		}
		p.kill()
	}
	r.once("--once-wait", "10s").exit(60*time.Second, 0)
	r.settle(time.Second)
	t.Logf("%d kills, %d messages (seed %d)", kills, len(r.sent), seed)
}
