package queue_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/sqsserver"
)

func TestMain(m *testing.M) {
	if runAsServer() {
		return
	}
	flag.Parse()
	// The tests wait for timeouts far more than they compute.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const name = "logins"

// testClient in the environment is the Config.Client of every test: the default one if it is empty.
const testClient = "CLOAKROOM_TEST_SQS_CLIENT"

// Every test holds over both clients: this one runs the others over the SDK's.
func TestOverTheSDKsClient(t *testing.T) {
	t.Parallel()
	if os.Getenv(testClient) != "" {
		t.Skip("this is that run")
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^Test", "-test.timeout=5m")
	again.Env = append(os.Environ(), testClient+"="+queue.ClientSDK)
	out, err := again.CombinedOutput()
	if passed := bytes.Count(out, []byte("--- PASS: Test")); err != nil || passed < 20 {
		t.Errorf("%d passed: %v\n%s", passed, err, out)
	}
}

// bench is a queue on a server of its own, and a consumer of it.
type bench struct {
	*testing.T
	server   *sqsserver.Server
	queue    *queue.Queue
	consumer *queue.Consumer
	seen     *observer
	ended    bool
}

// newBench starts a server with some messages. Zero fields of c: a visibility of 2 s, polls of 1 s.
func newBench(t *testing.T, c queue.Config, messages int) *bench {
	t.Helper()
	t.Parallel() // most of a test is waiting
	server := sqsserver.New(sqsserver.Config{})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	b := &bench{T: t, server: server, seen: &observer{}}
	b.create()
	b.consume(server.URL(), c)
	b.put(messages)
	return b
}

func (b *bench) create() {
	b.Helper()
	if _, err := b.server.CreateQueue(name, nil); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) consume(endpoint string, c queue.Config) {
	c.URL, c.Observe, c.Client = b.server.QueueURL(name), b.seen, os.Getenv(testClient)
	if c.Visibility == 0 {
		c.Visibility = 2 * time.Second
	}
	c.Wait = time.Second
	b.queue = queue.OpenAt(b, endpoint, c)
	b.consumer = b.queue.Consume(slog.New(slog.DiscardHandler))
	b.Cleanup(func() {
		if !b.ended {
			b.close(5 * time.Second)
		}
	})
}

func (b *bench) close(limit time.Duration) (undeleted, released int) {
	b.ended = true
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return b.consumer.Close(ctx)
}

func (b *bench) put(n int) {
	b.Helper()
	for i := range n {
		if err := b.server.Put(name, sqsserver.Message{Body: fmt.Sprintf(`{"n":%d}`, i)}); err != nil {
			b.Fatal(err)
		}
	}
}

// receive receives at least n messages.
func (b *bench) receive(n int) []*queue.Message {
	b.Helper()
	var got []*queue.Message
	for deadline := time.Now().Add(15 * time.Second); len(got) < n; {
		messages, err := b.consumer.Receive(b.Context(), 0)
		if err != nil {
			b.Fatal(err)
		}
		got = append(got, messages...)
		if time.Now().After(deadline) {
			b.Fatalf("received %d messages, want %d", len(got), n)
		}
	}
	return got
}

// eventually waits until a condition holds.
func (b *bench) eventually(what string, holds func() bool) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("waited too long until %s: held %d, queue %+v", what, b.consumer.Held(), b.server.Counts(name))
		}
	}
}

func (b *bench) drained() bool { return b.consumer.Held() == 0 && b.server.Counts(name).Total() == 0 }

// calls are the calls of an operation so far.
func (b *bench) calls(op string) []sqsserver.Call {
	var out []sqsserver.Call
	for _, c := range b.server.Calls() {
		if c.Op == op {
			out = append(out, c)
		}
	}
	return out
}

// observer counts what it is told.
type observer struct {
	mu               sync.Mutex
	failed           map[string]int // calls by operation
	extended, missed int            // messages
}

func (o *observer) SQSRequest(operation string, err error, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil {
		o.failed = map[string]int{}
	}
	if err != nil {
		o.failed[operation]++
	}
}

func (o *observer) Extended(messages, failed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.extended += messages
	o.missed += failed
}

func (o *observer) counts() (extended, missed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.extended, o.missed
}

func (o *observer) failures(operation string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed[operation]
}
