package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/source"
	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox"
	"cloakroom/internal/sandbox/plainsqs"
	"cloakroom/internal/sandbox/sqsserver"
)

// asQueue in the environment makes this program the queue's server: a process of its own, whose CPU is not the
// client's.
const asQueue = "CLOAKROOM_BENCH_AS_QUEUE"

// serveQueue is the child's main: it prints the queue's URL, then puts a number of logins into the queue for each line
// "N SEED" on standard input and answers "ok", until that ends.
func serveQueue(in io.Reader, out io.Writer) error {
	srv := sqsserver.New(sqsserver.Config{CallLog: -1})
	if err := srv.Start(); err != nil {
		return err
	}
	defer srv.Close()
	url, err := srv.CreateQueue(sandbox.Queue, map[string]string{"VisibilityTimeout": "30"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, url)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var n int
		var seed uint64
		if _, err := fmt.Sscan(lines.Text(), &n, &seed); err != nil {
			return err
		}
		g := newGenerator(uniform, seed)
		for range n {
			if err := srv.Put(sandbox.Queue, sqsserver.Message{Body: string(g.body()), Sender: "bench"}); err != nil {
				return err
			}
		}
		fmt.Fprintln(out, "ok")
	}
	return nil
}

// remoteQueue is the parent's side of serveQueue.
type remoteQueue struct {
	url   string
	in    io.WriteCloser
	out   *bufio.Reader
	child *exec.Cmd
	puts  uint64
}

func startQueue() (*remoteQueue, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	q := &remoteQueue{child: exec.Command(self)}
	q.child.Env = append(os.Environ(), asQueue+"=1")
	q.child.Stderr = os.Stderr
	if q.in, err = q.child.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := q.child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	q.out = bufio.NewReader(out)
	if err := q.child.Start(); err != nil {
		return nil, err
	}
	line, err := q.out.ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the queue's process: %w", err), q.close())
	}
	q.url = strings.TrimSpace(line)
	endpoint, _, _ := strings.Cut(strings.TrimPrefix(q.url, "http://"), "/")
	for name, value := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_SQS": "http://" + endpoint,
		"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": sandbox.Secret, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			return nil, errors.Join(err, q.close())
		}
	}
	return q, nil
}

// settle is how long the server is given to notice that polls were cut off.
const settle = 300 * time.Millisecond

// put fills the queue with n logins, other ones each time.
func (q *remoteQueue) put(n int) error {
	// The last contender's polls were cut off: the server must have noticed, or it hands messages to nobody, which are
	// then invisible for half a minute.
	time.Sleep(settle)
	q.puts++
	if _, err := fmt.Fprintln(q.in, n, q.puts); err != nil {
		return err
	}
	line, err := q.out.ReadString('\n')
	if err == nil && line != "ok\n" {
		err = fmt.Errorf("the queue's process said %q", line)
	}
	return err
}

func (q *remoteQueue) close() error {
	return errors.Join(q.in.Close(), q.child.Wait())
}

// receivers are the concurrent receive calls of both, ingest's default.
const receivers = 16

// bare is the baseline: receive and delete with the SDK, and nothing else.
func (q *remoteQueue) bare(name string, n int) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		client, err := plainsqs.Open(ctx, q.url)
		if err != nil {
			return sample{}, err
		}
		if err := q.put(n); err != nil {
			return sample{}, err
		}
		w := start()
		err = client.Drain(ctx, n, receivers)
		return w.stop(n), err
	}}
}

// ingested is a contender that ingests n messages into an emptied table, until the last one is deleted from the queue.
func (q *remoteQueue) ingested(name string, d *database, n int) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		if err := errors.Join(d.truncate(ctx), q.put(n)); err != nil {
			return sample{}, err
		}
		return q.ingest(ctx, d, n)
	}}
}

func (q *remoteQueue) ingest(ctx context.Context, d *database, n int) (sample, error) {
	// The fake answers at once while it has messages; the wait only bounds the last polls, which are not measured.
	opened, err := queue.Open(ctx, queue.Config{URL: q.url, Wait: time.Second})
	if err != nil {
		return sample{}, err
	}
	from := source.NewSQS(opened, source.SQSOptions{Log: quiet})
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all := newTally(n)
	w := start()
	ended := make(chan error, 1)
	go func() {
		_, err := etl.Run(ctx, d.writer, from, etl.Options{
			Log: quiet, Loaders: loaders, BatchRows: batchRows, Receivers: receivers, Observe: all,
		})
		ended <- err
	}()
	select {
	case <-all.done:
	case err := <-ended:
		return sample{}, errors.Join(errors.New("ingest ended early"), err)
	}
	for from.Held() > 0 {
		time.Sleep(time.Millisecond)
	}
	s := w.stop(n)
	stop()
	err = <-ended
	from.Close(context.WithoutCancel(ctx))
	// The server must have seen that the last polls were cut off before there are messages again, which they would
	// take.
	time.Sleep(100 * time.Millisecond)
	return s, err
}

// tally tells when a given number of events are committed.
type tally struct {
	left atomic.Int64
	done chan struct{}
}

func newTally(n int) *tally {
	t := &tally{done: make(chan struct{})}
	t.left.Store(int64(n))
	return t
}

// Received implements etl.Observer.
func (t *tally) Received(string, int) {}

// BatchCommitted implements etl.Observer.
func (t *tally) BatchCommitted(_ string, messages []*etl.Message, _ time.Duration, _ etl.Counts) {
	if t.left.Add(-int64(len(messages))) <= 0 {
		select {
		case <-t.done:
		default:
			close(t.done)
		}
	}
}
