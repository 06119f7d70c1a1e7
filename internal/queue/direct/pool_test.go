package direct

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A connection that is old, or was long idle, is closed and not used again.
func TestConnectionsAge(t *testing.T) {
	now := time.Now()
	for what, c := range map[string]struct {
		dialed, used time.Time
		fit          bool
	}{
		"new":       {now, now, true},
		"in use":    {now.Add(-maxAge + time.Minute), now, true},
		"old":       {now.Add(-maxAge), now, false},
		"long idle": {now.Add(-maxIdle), now.Add(-maxIdle), false},
	} {
		p := pool{dial: func(context.Context) (net.Conn, error) { return nil, context.Canceled }}
		ours, theirs := net.Pipe()
		kept := newConn(ours)
		kept.dialed, kept.used = c.dialed, c.used
		p.put(kept, true)
		if got := p.take(); (got != nil) != c.fit {
			t.Errorf("%s: taken: %v", what, got != nil)
		}
		_ = theirs.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := theirs.Read(make([]byte, 1)); (err.Error() == "EOF") == c.fit {
			t.Errorf("%s: %v", what, err)
		}
		ours.Close()
		theirs.Close()
	}
}

// No more idle connections are kept than maxIdleKept.
func TestIdleConnectionsAreFew(t *testing.T) {
	var p pool
	for range maxIdleKept + 10 {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		p.put(newConn(ours), true)
	}
	if len(p.idle) != maxIdleKept {
		t.Errorf("%d are kept", len(p.idle))
	}
	p.closeIdle()
	if p.take() != nil {
		t.Error("one is kept after closeIdle")
	}
}

// ending is a connection that ends a context as soon as it has read something.
type ending struct {
	net.Conn
	end context.CancelFunc
}

func (e ending) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	e.end()
	return n, err
}

// An answer that came as the context ended is good. Its connection is not: a deadline may strike it later.
func TestTheContextEndsWithTheAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
			_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	}()
	c := newConn(ending{ours, cancel})
	a, keep, err := c.exchange(ctx, []byte("POST / HTTP/1.1\r\nHost: q\r\nContent-Length: 0\r\n\r\n"), nil)
	if err != nil || string(a.body) != "{}" || keep {
		t.Errorf("read %q, kept %v: %v", a.body, keep, err)
	}
	c.close()
}
