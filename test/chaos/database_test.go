package chaos

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// Every commit fails, as on a disk that is full: nothing is deleted, nothing is received again, and once there is room
// everything is stored.
func TestNothingIsDeletedBeforeItsCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	// A deferred trigger runs in COMMIT itself.
	r.admin.MustExec(`
		CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS
		  $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
		GRANT EXECUTE ON FUNCTION public.full_disk() TO PUBLIC;
		CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON cloakroom_data.user_logins
		  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.full_disk()`)
	r.send(500)
	d := r.daemon()
	r.eventually("all are received", 20*time.Second, func() bool { return r.sqs.Counts(queueName).InFlight == 500 })
	time.Sleep(5 * time.Second)
	if c := r.sqs.Counts(queueName); c.InFlight != 500 {
		t.Errorf("the queue counts %+v, want 500 in flight", c)
	}
	for _, call := range r.sqs.Calls() {
		if call.Op == "DeleteMessageBatch" {
			t.Fatal("a message was deleted before its commit")
		}
	}
	if out := d.out.String(); !strings.Contains(out, "53100") || !strings.Contains(out, "free disk space") {
		t.Error("the log does not say that the disk is full")
	}
	r.receivedOnce()
	r.admin.MustExec(`DROP TRIGGER full_disk ON cloakroom_data.user_logins`)
	r.settle(30 * time.Second)
	d.stop()
}

// receivedOnce checks that no message was delivered again: none was given back, and none was left to become visible.
func (r *rig) receivedOnce() {
	r.Helper()
	for _, m := range r.sqs.Messages(queueName) {
		if m.Receives > 1 {
			r.Errorf("message %s was received %d times", m.ID, m.Receives)
			return
		}
	}
}

// stop asks a daemon to stop, and checks that it does with exit code 0 and leaves nothing invisible.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.exit(20*time.Second, 0)
}

// A delete never comes before the commit of what it deletes: by the server's commit timestamps.
func TestDeletesFollowCommits(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]string{"track_commit_timestamp": "on"})
	stop := r.feed(400)
	d := r.daemon("--batch-rows", "50", "--batch-delay", "20ms")
	time.Sleep(4 * time.Second)
	stop()
	r.settle(20 * time.Second)
	d.stop()
	var commits []time.Time
	if err := r.admin.Select(&commits, `
		SELECT at FROM (SELECT pg_xact_commit_timestamp(xmin) AS at FROM cloakroom_data.user_logins
		                UNION ALL SELECT pg_xact_commit_timestamp(xmin) FROM cloakroom_data.orders
		                UNION ALL SELECT pg_xact_commit_timestamp(xmin) FROM cloakroom.rejections) AS c ORDER BY at`); err != nil {
		t.Fatal(err)
	}
	deletes, most := 0, 0
	for _, call := range r.sqs.Calls() {
		if call.Op != "DeleteMessageBatch" {
			continue
		}
		// Each call deletes at least one message; every message deleted so far is one of those committed so far.
		deletes++
		committed := 0
		for committed < len(commits) && commits[committed].Before(call.Time) {
			committed++
		}
		if deletes > committed {
			t.Fatalf("%d delete calls by %v, and %d commits", deletes, call.Time, committed)
		}
		most = max(most, deletes)
	}
	if most == 0 {
		t.Fatal("no deletes were seen")
	}
}

// outages of the database, each ended by what it returns.
func (r *rig) databaseOutages() map[string]func() (end func()) {
	return map[string]func() func(){
		"hangs": func() func() {
			r.must(r.postgres.Pause())
			return func() { r.must(r.postgres.Continue()) }
		},
		"crashes": func() func() {
			r.must(r.postgres.Kill())
			return r.restart
		},
		"restarts": func() func() {
			r.restart()
			return func() {}
		},
		"refuses": func() func() {
			r.admin.MustExec(`ALTER ROLE ingest CONNECTION LIMIT 0;
				SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'ingest'`)
			return func() { r.admin.MustExec(`ALTER ROLE ingest CONNECTION LIMIT -1`) }
		},
		"is cut off": func() func() {
			r.toPostgres.Stop()
			return func() { r.must(r.toPostgres.Start()) }
		},
		"refuses the grant": func() func() {
			r.admin.MustExec(`REVOKE cloakroom_ingest FROM ingest`)
			return func() { r.admin.MustExec(`GRANT cloakroom_ingest TO ingest`) }
		},
	}
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) restart() {
	r.Helper()
	r.must(r.postgres.Restart(r.Context()))
	r.eventually("the database answers", 20*time.Second, func() bool { return r.admin.Ping() == nil })
}

// Whatever the database does, events are held invisible, not handed back, and stored when it is back; the daemon is not
// ready and lives.
func TestDatabaseOutages(t *testing.T) {
	for what := range (*rig)(nil).databaseOutages() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			d := r.daemon()
			stop := r.feed(200)
			r.eventually("events are stored", 20*time.Second, func() bool { return r.stored() > 100 })
			end := r.databaseOutages()[what]()
			if what != "restarts" {
				r.eventually("the daemon is not ready", 10*time.Second,
					func() bool { code, _ := d.get("/readyz"); return code == 503 })
			}
			time.Sleep(4 * time.Second) // two visibility timeouts
			if code, text := d.get("/livez"); code != 200 {
				t.Errorf("/livez: %d %s", code, text)
			}
			r.receivedOnce()
			end()
			r.eventually("the daemon is ready", 40*time.Second,
				func() bool { code, _ := d.get("/readyz"); return code == 200 })
			stop()
			// A connection that says nothing more is given up after the statement timeout and 15 s.
			r.settle(100 * time.Second)
			d.stop()
		})
	}
}
