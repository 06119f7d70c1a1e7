package chaos

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cloakroom/internal/pg/pgtest"
)

// The fence: a rotation step raises the epoch and closes the daemon's data key, again and again.
func TestEpochIsRaisedUnderTheDaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	d := r.daemon()
	stop := r.feed(500)
	r.eventually("events are stored", 20*time.Second, func() bool { return r.stored() > 100 })
	for range 8 {
		time.Sleep(300 * time.Millisecond)
		r.admin.MustExec(`BEGIN;
			LOCK TABLE cloakroom.fence IN SHARE ROW EXCLUSIVE MODE;
			UPDATE cloakroom.settings SET epoch = epoch + 1;
			UPDATE cloakroom.data_keys SET state = 'closed', closed_at = now() WHERE state = 'active';
			COMMIT`)
	}
	stop()
	r.settle(20 * time.Second)
	d.stop()
	if !strings.Contains(d.out.String(), "the vault has moved on") {
		t.Error("the log does not say that batches were protected again")
	}
}

// An older state of the database is restored under the daemon, one that does not know its data key: the load refuses
// what it sealed, a new key is made, and nothing that was sent since is lost.
func TestRestoreUnderTheDaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	old := r.dump()
	d := r.daemon()
	r.send(300)
	r.eventually("the first are stored", 20*time.Second, r.drained)
	// The restore takes these away: they were stored, and deleted from the queue, after the backup.
	r.sent = map[string]event{}

	r.restore(old)
	if n := r.stored(); n != 0 {
		t.Fatalf("%d events after the restore, want none", n)
	}
	stop := r.feed(300)
	time.Sleep(2 * time.Second)
	stop()
	r.settle(30 * time.Second)
	d.stop()
	if !strings.Contains(d.out.String(), "the vault has moved on") {
		t.Error("the log does not say that batches were protected again")
	}
	// The ids are those of the restored sequence: the id of the daemon's first key stands for another key now.
	var ids int
	r.must(r.admin.Get(&ids, `SELECT count(*) FROM cloakroom.data_keys WHERE state = 'active'`))
	if ids == 0 {
		t.Error("the restored vault has no data key")
	}
}

// restore puts a dump in place of what is there, in one transaction, under any login that is connected.
func (r *rig) restore(dump string) {
	r.Helper()
	psql := exec.Command(pgtest.Program(r, r.postgres, "psql"), "--quiet", "--single-transaction", "--set",
		"ON_ERROR_STOP=1", "--file", "-", r.postgres.URL(r.postgres.SuperUser(), "cloakroom"))
	psql.Stdin = strings.NewReader("DROP SCHEMA cloakroom, cloakroom_data CASCADE;\n" + dump)
	if out, err := psql.CombinedOutput(); err != nil {
		r.Fatalf("restoring: %v\n%s", err, out)
	}
}

// A queue that vanishes and comes back is waited for, without spinning.
func TestQueueVanishesUnderTheDaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	d := r.daemon()
	r.send(100)
	r.eventually("the first are stored", 20*time.Second, r.drained)
	r.deleteQueue()
	r.eventually("the daemon is not ready", 10*time.Second,
		func() bool { code, _ := d.get("/readyz"); return code == 503 })
	before := len(r.sqs.Calls())
	time.Sleep(3 * time.Second)
	if n := len(r.sqs.Calls()) - before; n > 15 {
		t.Errorf("%d calls in 3s to a queue that is not there", n)
	}
	r.createQueues()
	r.send(100)
	r.settle(40 * time.Second)
	d.stop()
	if !strings.Contains(d.out.String(), "the queue does not exist") {
		t.Error("the log does not say that the queue was gone")
	}
}

func (r *rig) deleteQueue() {
	r.Helper()
	// By hand: one call is no reason for a client.
	body := strings.NewReader(fmt.Sprintf(`{"QueueUrl":%q}`, r.sqs.QueueURL(queueName)))
	r.must(post(r.sqs.URL(), "AmazonSQS.DeleteQueue", body))
}
