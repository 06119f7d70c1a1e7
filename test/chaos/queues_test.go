package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/s3server"
	"cloakroom/internal/sandbox/sqsserver"
)

// addQueue makes a queue beside the rig's own.
func (r *rig) addQueue(name string) {
	r.Helper()
	_, err := r.sqs.CreateQueue(name, map[string]string{"RedrivePolicy": fmt.Sprintf(
		`{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:%s","maxReceiveCount":%d}`, deadName, maxReceive)})
	if err != nil {
		r.Fatal(err)
	}
}

// made numbers the events of tests that choose their queue.
var made atomic.Int64

// eventsOf makes n events of one dataset, by new message ids.
func (r *rig) eventsOf(dataset string, n int) map[string]event {
	out := map[string]event{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(out) < n {
		if e := newEvent(int(made.Add(1))); e.dataset == dataset {
			id := uuid.NewString()
			out[id], r.sent[id] = e, e
		}
	}
	return out
}

// put sends events; wrap makes a message's body of an event's.
func (r *rig) put(queue string, events map[string]event, wrap func(id, body string) string) {
	r.Helper()
	var messages []sqsserver.Message
	for id, e := range events {
		messages = append(messages, sqsserver.Message{ID: id, Body: wrap(id, e.body)})
	}
	r.must(r.sqs.Put(queue, messages...))
}

func plain(_, body string) string { return body }

func (r *rig) empty(queues ...string) func() bool {
	return func() bool {
		left := 0
		for _, q := range queues {
			left += r.sqs.Counts(q).Total()
		}
		return left == 0
	}
}

// Two queues with two datasets in one daemon. While one of them is away or throttled, and while the daemon is killed and
// starts again, the other goes on; in the end each has what was sent to it, as rows and rejections.
func TestQueuesOfOneDaemon(t *testing.T) {
	t.Parallel()
	_, random := seeded(t)
	r := newRig(t, nil)
	const other = "orders"
	r.addQueue(other)
	flags := []string{
		"--queue-url=", "--route=", "--dataset=", "--queue", r.sqs.QueueURL(queueName) + " dataset=login", "--queue", r.sqs.QueueURL(other) + " dataset=order",
	}
	send := func() {
		r.put(queueName, r.eventsOf("login", 150), plain)
		r.put(other, r.eventsOf("order", 150), plain)
	}
	d := r.daemon(flags...)
	send()
	r.eventually("both are stored", 20*time.Second, r.empty(queueName, other))
	for what, f := range map[string]awswire.Fault{
		"throttled": {Error: sqsserver.ErrRequestThrottled}, "cut off": {Drop: true}, "hanging": {Delay: 30 * time.Second},
	} {
		f.Resource = other
		cancel := r.sqs.Inject(f)
		send()
		r.eventually("the logins are stored while the other queue is "+what, 20*time.Second, r.empty(queueName))
		if what != "hanging" {
			r.eventually("the daemon names the queue", 20*time.Second, func() bool {
				code, text := d.get("/readyz")
				return code == 503 && strings.Contains(text, "queue orders: ") && !strings.Contains(text, "queue logins")
			})
		}
		if code, text := d.get("/livez"); code != 200 {
			t.Errorf("%s: /livez: %d %s", what, code, text)
		}
		// A new start does not wait for it either.
		d.kill()
		d = r.daemon(flags...)
		r.put(queueName, r.eventsOf("login", 50), plain)
		r.eventually("logins are stored by a daemon that started while the other queue was "+what, 40*time.Second,
			r.empty(queueName))
		if n := r.sqs.Counts(other).Total(); n == 0 {
			t.Errorf("the orders are gone although their queue was %s", what)
		}
		cancel()
	}
	for range 5 {
		send()
		time.Sleep(between(random, 100*time.Millisecond, 900*time.Millisecond))
		d.kill()
		d = r.daemon(flags...)
	}
	r.eventually("both are empty", 60*time.Second, r.empty(queueName, other))
	if n := d.metric(`cloakroom_messages_in_flight{queue="orders"}`); n != 0 {
		t.Errorf("%v orders are held at the end", n)
	}
	d.stop()
	r.ledger()
}

// Bodies lie in S3, which refuses, fails, hangs and is away, while the daemon is killed. Every event is a row or a
// rejection; the objects of rows are deleted, and those of rejections stay.
func TestBodiesInS3(t *testing.T) {
	t.Parallel()
	_, random := seeded(t)
	r := newRig(t, nil)
	const bucket, other = "bodies", "direct"
	r.s3.CreateBucket(bucket, false)
	r.addQueue(other)
	inS3 := func(id, body string) string {
		_, err := r.s3.Put(bucket, id, s3server.Object{Body: []byte(body)})
		r.must(err)
		return fmt.Sprintf(`["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":%q,"s3Key":%q}]`, bucket, id)
	}
	flags := []string{
		"--queue-url=", "--route=", "--dataset=", "--queue", r.sqs.QueueURL(queueName) + " dataset=order unwrap=s3 s3-buckets=" + bucket,
		"--queue", r.sqs.QueueURL(other) + " dataset=login", "--s3-delete",
	}
	d := r.daemon(flags...)
	for what, f := range map[string]awswire.Fault{
		"away": {Drop: true}, "refusing": {Error: s3server.ErrAccessDenied}, "slow": {Error: s3server.ErrSlowDown},
	} {
		cancel := r.s3.Inject(f)
		before := r.s3.Calls("GetObject")
		r.put(queueName, r.eventsOf("order", 400), inS3)
		r.put(other, r.eventsOf("login", 100), plain)
		r.eventually("the other queue is empty while S3 is "+what, 20*time.Second, r.empty(other))
		r.eventually("the daemon says what it waits for", 20*time.Second, func() bool {
			code, text := d.get("/readyz")
			return code == 503 && strings.Contains(text, "reading a body of logins from S3")
		})
		if n := r.sqs.Counts(queueName).Total(); n != 400 {
			t.Errorf("%d of 400 messages are left while S3 is %s: nobody could have read their bodies", n, what)
		}
		d.kill()
		d = r.daemon(flags...)
		time.Sleep(time.Second)
		cancel()
		r.eventually("the bodies are read once S3 is back", 60*time.Second, r.empty(queueName))
		// Nothing was stored when it was killed: what is left are the objects of rejections.
		r.eventually("the objects of rows are deleted", 20*time.Second, func() bool {
			left, rejections := r.objectsLeft(bucket)
			return left == 0 && rejections > 0
		})
		t.Logf("%s: %d reads of 400 bodies", what, r.s3.Calls("GetObject")-before)
	}
	for _, f := range []awswire.Fault{
		{Op: "GetObject", Fraction: 0.1, Drop: true}, {Op: "GetObject", Fraction: 0.1, Error: s3server.ErrInternal},
		{Op: "GetObject", Fraction: 0.2, Cut: 20}, {Op: "DeleteObject", Fraction: 0.2, Error: s3server.ErrSlowDown},
	} {
		r.s3.Inject(f)
	}
	kills := 6
	for range kills {
		r.put(queueName, r.eventsOf("order", 100), inS3)
		time.Sleep(between(random, 100*time.Millisecond, 900*time.Millisecond))
		d.kill()
		d = r.daemon(flags...)
	}
	r.eventually("all is read", 60*time.Second, r.empty(queueName))
	r.s3.ClearFaults()
	d.stop()
	r.ledger()
	// A kill leaves those of which the messages were gone already.
	left, _ := r.objectsLeft(bucket)
	t.Logf("%d objects are left by %d kills", left, kills)
	r.objectsOfRejections(bucket)
}

// objectsLeft counts the objects of rows, and of rejections.
func (r *rig) objectsLeft(bucket string) (rows, rejections int) {
	for _, key := range r.s3.Keys(bucket) {
		if r.sent[key].row {
			rows++
		} else {
			rejections++
		}
	}
	return rows, rejections
}

// objectsOfRejections fails where one is gone: a replay would find nothing.
func (r *rig) objectsOfRejections(bucket string) {
	r.Helper()
	keys := r.s3.Keys(bucket)
	for id, e := range r.sent {
		if e.dataset == "order" && !e.row && !slices.Contains(keys, id) {
			r.Errorf("the object of rejection %s is gone", id)
		}
	}
}
