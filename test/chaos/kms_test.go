package chaos

import (
	"strings"
	"testing"
	"time"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/kmsserver"
)

// outages of KMS, each ended by what it returns.
func (r *rig) kmsOutages() map[string]func() (end func()) {
	return map[string]func() func(){
		"throttles": func() func() {
			return r.kms.Inject(awswire.Fault{Op: "GenerateDataKey", Error: kmsserver.ErrThrottling})
		},
		"denies": func() func() {
			r.kms.SetPolicy("ingest", kmsserver.Policy{})
			return func() { r.kms.SetPolicy("ingest", kmsserver.Roles()["ingest"]) }
		},
		"is disabled": func() func() {
			return r.kms.Inject(awswire.Fault{Error: kmsserver.ErrDisabled})
		},
		"is gone": func() func() {
			r.must(r.kms.Close())
			return func() { r.must(r.kms.Start()) }
		},
		"takes calls and says nothing": func() func() {
			return r.kms.Inject(awswire.Fault{Delay: 30 * time.Second})
		},
	}
}

// While KMS is away sealing goes on under the key in hand until its cap; then nothing more is stored, and receiving
// stops when as much is held as may be. Nothing is handed back, lost, or written in clear.
func TestKMSOutages(t *testing.T) {
	const keyAge = 4 * time.Second
	for what := range (*rig)(nil).kmsOutages() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			d := r.daemon("--data-key-age", keyAge.String(), "--max-in-flight", "400")
			stop := r.feed(200)
			r.eventually("events are stored", 20*time.Second, func() bool { return r.stored() > 50 })
			end := r.kmsOutages()[what]()
			began, before := time.Now(), r.stored()
			r.eventually("sealing goes on under the key in hand", 2*time.Second,
				func() bool { return r.stored() > before+50 })
			r.eventually("the daemon is not ready", keyAge+20*time.Second,
				func() bool { code, _ := d.get("/readyz"); return code == 503 })
			if age := d.metric("cloakroom_data_key_age_seconds"); age < 1 {
				t.Errorf("the data key is %gs old by its metric", age)
			}
			at := r.stored()
			time.Sleep(3 * time.Second)
			if n := r.stored(); n != at {
				t.Errorf("%d events were stored %v after KMS went away, with keys of %v", n-at, time.Since(began),
					keyAge)
			}
			r.eventually("receiving stops", 10*time.Second, func() bool { return r.quiet(time.Second) })
			if held := d.metric(`cloakroom_messages_in_flight{queue="logins"}`); held < 100 || held > 400+16*10 {
				t.Errorf("%g messages are held, want about as many as may be", held)
			}
			if code, text := d.get("/livez"); code != 200 {
				t.Errorf("/livez: %d %s", code, text)
			}
			r.receivedOnce()
			stop()
			end()
			r.settle(60 * time.Second)
			d.stop()
		})
	}
}

// quiet reports that nothing is received for a while.
func (r *rig) quiet(span time.Duration) bool {
	count := func() (n int) {
		for _, c := range r.sqs.Calls() {
			if c.Op == "ReceiveMessage" {
				n++
			}
		}
		return n
	}
	before := count()
	time.Sleep(span)
	return count() == before
}

// A KMS that denies is reported with what to allow.
func TestKMSDeniedIsExplained(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.kms.SetPolicy("ingest", kmsserver.Policy{})
	d := r.daemon()
	d.exit(20*time.Second, 6)
	if out := d.out.String(); !strings.Contains(out, "allow kms:Decrypt with purpose=index") {
		t.Errorf("it printed %q", out)
	}
}
