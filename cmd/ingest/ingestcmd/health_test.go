package ingestcmd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloakroom/etl"
)

// pollingQueue is a queue that was polled just now.
type pollingQueue struct{}

func (pollingQueue) LastPoll() time.Time { return time.Now() }
func (pollingQueue) Full() bool          { return false }
func (pollingQueue) Healthy() error      { return nil }

func probe(h *health, path string) (status int, said string) {
	answer := httptest.NewRecorder()
	newServer(http.NotFoundHandler(), h).Handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer.Code, strings.TrimSpace(answer.Body.String())
}

// Probes that come while one is under way share its answer: none is refused because another came
// first.
func TestReadinessProbesShareAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		answer error
		status int
	}{
		"the database answers": {nil, http.StatusOK}, "it does not": {errors.New("connection refused"), http.StatusServiceUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			var asked atomic.Int32
			h := &health{sources: map[string]polled{"q": pollingQueue{}}, ask: func(context.Context) error {
				asked.Add(1)
				time.Sleep(time.Second)
				return c.answer
			}}
			var group sync.WaitGroup
			for range 5 {
				group.Go(func() {
					if status, said := probe(h, "/readyz"); status != c.status {
						t.Errorf("%s: %d %s, want %d", name, status, said, c.status)
					}
				})
			}
			group.Wait()
			if n := asked.Load(); n != 1 {
				t.Errorf("%s: the database was asked %d times by 5 probes at once, want 1", name, n)
			}
		})
	}
}

// stillQueue is a queue that was polled long ago.
type stillQueue struct{ full bool }

func (stillQueue) LastPoll() time.Time { return time.Now().Add(-stuck - time.Minute) }
func (q stillQueue) Full() bool        { return q.full }
func (stillQueue) Healthy() error      { return errors.New("the queue has been away since noon") }

type noObserver struct{ etl.Observer }

func (noObserver) BatchCommitted(string, []*etl.Message, time.Duration, etl.Counts) {}

// Of several queues, one that is stuck or away is named; what one commits does not speak for another.
func TestHealthOfSeveralQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		h := &health{
			Observer: noObserver{}, ask: func(context.Context) error { return nil },
			sources: map[string]polled{"orders": stillQueue{}, "logins": pollingQueue{}, "full": stillQueue{full: true}},
		}
		wants := func(path string, status int, said string) {
			t.Helper()
			if got, text := probe(h, path); got != status || !strings.Contains(text, said) {
				t.Errorf("%s: %d %s, want %d %s", path, got, text, status, said)
			}
		}
		h.BatchCommitted("logins", nil, 0, etl.Counts{})
		wants("/livez", http.StatusServiceUnavailable, "queue orders: nothing was received or committed")
		wants("/readyz", http.StatusServiceUnavailable, "queue full: the queue has been away since noon; queue orders: ")
		h.BatchCommitted("orders", nil, 0, etl.Counts{})
		wants("/livez", http.StatusOK, "ok")
		h.sources = map[string]polled{"orders": pollingQueue{}, "logins": pollingQueue{}}
		h.hold("loading a batch", errors.New("refused"))
		h.hold("getting a data key", errors.New("away"))
		h.BatchCommitted("logins", nil, 0, etl.Counts{})
		wants("/readyz", http.StatusServiceUnavailable, "holding events: getting a data key: away; loading a batch: refused")
		h.resume("loading a batch")
		wants("/readyz", http.StatusServiceUnavailable, "holding events: getting a data key: away")
		h.resume("getting a data key")
		wants("/readyz", http.StatusOK, "ok")
	})
}

// A database that hangs fails every probe in time, and is asked by one connection.
func TestReadinessOfADatabaseThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		h := &health{sources: map[string]polled{"q": pollingQueue{}}, ask: func(context.Context) error {
			asked.Add(1)
			<-release
			return nil
		}}
		for range 3 {
			began := time.Now()
			status, said := probe(h, "/readyz")
			if took := time.Since(began); status != http.StatusServiceUnavailable || took != probeTimeout || !strings.Contains(said, "has not answered within 3s") {
				t.Errorf("after %v: %d %s", took, status, said)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("the database was asked %d times, want 1", n)
		}
		close(release)
		synctest.Wait()
		if status, said := probe(h, "/readyz"); status != http.StatusOK {
			t.Errorf("once it answers: %d %s", status, said)
		}
	})
}

// pipes is a listener in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error { close(p); return nil } // the server does so once

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A client that says nothing more, or never said anything, does not keep its connection.
func TestIdleConnectionsAreClosed(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		in   time.Duration
	}{
		"nothing":             {"", 10 * time.Second},
		"half a head":         {"GET /livez HT", 10 * time.Second},
		"a request, and then": {"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			listener := make(pipes)
			server := newServer(http.NotFoundHandler(), &health{sources: map[string]polled{"q": pollingQueue{}}})
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(listener) })
			client, conn := net.Pipe()
			listener <- conn
			began := time.Now()
			_, _ = io.WriteString(client, c.says)
			said := bufio.NewReader(client)
			for _, err := said.ReadString('\n'); err == nil; _, err = said.ReadString('\n') {
			}
			if took := time.Since(began); took > c.in {
				t.Errorf("%s: the connection was closed after %v, want %v or sooner", name, took, c.in)
			}
			server.Close()
			serving.Wait()
			client.Close()
		})
	}
}
