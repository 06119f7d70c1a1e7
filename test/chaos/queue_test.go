package chaos

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

func post(url, target string, body io.Reader) error {
	request, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		return err
	}
	request.Header.Set("X-Amz-Target", target)
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", target, answer.Status)
	}
	return nil
}

// Receives that fail back off: their calls are counted.
func TestFailingReceivesDoNotSpin(t *testing.T) {
	for what, fault := range map[string]awswire.Fault{
		"throttled":            {Error: sqsserver.ErrRequestThrottled},
		"over limit":           {Error: sqsserver.ErrOverLimit}, // which the SDK does not try again
		"internal failure":     {Error: awswire.ErrInternalFailure},
		"dropped":              {Drop: true},
		"dropped after effect": {Drop: true, After: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			d := r.daemon()
			r.send(200)
			r.eventually("the first are stored", 20*time.Second, r.drained)
			fault.Op = "ReceiveMessage"
			cancel := r.sqs.Inject(fault)
			before := len(r.sqs.Calls())
			r.send(30)
			time.Sleep(4 * time.Second)
			// Backing off from 200 ms by half more each time is some six tries in 4 s, of three attempts each; and each
			// receiver that was at work when it began makes one. Spinning is thousands.
			if n := len(r.sqs.Calls()) - before; n > 100 {
				t.Errorf("%d calls in 4s while receiving fails", n)
			}
			r.eventually("the daemon is not ready", 10*time.Second,
				func() bool { code, _ := d.get("/readyz"); return code == 503 })
			cancel()
			r.settle(40 * time.Second)
			d.stop()
		})
	}
}

// Told to stop, the daemon stops receiving, commits, deletes, and gives back the rest at once.
func TestStop(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for range 5 {
		before := r.stored()
		stop := r.feed(1000)
		d := r.daemon("--visibility-timeout", "1h")
		r.eventually("events are stored", 20*time.Second, func() bool { return r.stored() > before+100 })
		time.Sleep(500 * time.Millisecond)
		d.stop()
		if c := r.sqs.Counts(queueName); c.InFlight > 0 {
			t.Errorf("the queue counts %+v after a stop: nothing may be in flight", c)
		}
		stop()
		var last string
		for _, c := range r.sqs.Calls() {
			last = c.Op
		}
		if last == "ReceiveMessage" {
			t.Error("the last call is a receive: nothing was deleted after it")
		}
	}
	d := r.daemon()
	r.settle(time.Minute)
	d.stop()
}

// Also while the database hangs: the process ends soon after its grace, and what it held is visible at once.
func TestStopWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	d := r.daemon("--visibility-timeout", "1h", "--grace", "1s")
	stop := r.feed(500)
	r.eventually("events are stored", 20*time.Second, func() bool { return r.stored() > 100 })
	r.must(r.postgres.Pause())
	time.Sleep(time.Second)
	stop()
	d.signal(syscall.SIGTERM)
	d.exit(6*time.Second, 0)
	if c := r.sqs.Counts(queueName); c.InFlight > 0 || c.Visible == 0 {
		t.Errorf("the queue counts %+v, want all that was not committed to be visible", c)
	}
	r.must(r.postgres.Continue())
	d = r.daemon()
	r.settle(30 * time.Second)
	d.stop()
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.send(100)
	before := r.dump()
	d := r.daemon("--dry-run", "--visibility-timeout", "1h")
	d.exit(20*time.Second, 0)
	if out := d.out.String(); !strings.Contains(out,
		"100 received · 95 would be stored · 0 duplicates dropped · 5 rejected (missing_field 5)") {
		t.Errorf("it printed %q", out)
	}
	if c := r.sqs.Counts(queueName); c.Visible != 100 || c.InFlight != 0 {
		t.Errorf("the queue counts %+v, want 100 visible", c)
	}
	if after := r.dump(); withoutRandom(after) != withoutRandom(before) {
		t.Error("the database has changed")
	}

	// No more than may be in flight is looked at.
	d = r.daemon("--dry-run", "--max-in-flight", "30")
	d.exit(20*time.Second, 0)
	if out := d.out.String(); !strings.Contains(out, "--max-in-flight") || !strings.Contains(out, "30 received") {
		t.Errorf("it printed %q", out)
	}
}

// withoutRandom drops the lines of a dump that differ from one dump to the next.
func withoutRandom(dump string) string {
	var kept []string
	for line := range strings.SplitSeq(dump, "\n") {
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

var deletesFail = awswire.Fault{Op: "DeleteMessageBatch", Error: awswire.ErrServiceUnavailable}
