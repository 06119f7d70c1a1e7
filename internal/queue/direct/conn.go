package direct

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Limits. None is of SQS: they bound what a server can make this process hold.
const (
	maxHeader = 64 << 10
	// maxAnswer is enough for ten bodies of 1 MiB, SQS's limit, with each byte written as \uXXXX: 60 MiB.
	maxAnswer = 64 << 20
	// maxInterim is how many 1xx answers may come before the real one; net/http allows as many.
	maxInterim = 5
	// maxAge ends a connection, so that a change of DNS or of the load balancer is followed.
	maxAge = 5 * time.Minute
	// maxIdle is less than what AWS's load balancers and NAT gateways allow (60 s and 350 s). A gateway drops what
	// comes later without a word, and the call would wait for its deadline.
	maxIdle     = 50 * time.Second
	maxIdleKept = 64
	bufferSize  = 16 << 10
)

var errTooLong = errors.New("the answer is too long")

// conn is a connection that carries one call at a time.
type conn struct {
	net.Conn
	reader       *bufio.Reader
	budget       int64 // bytes that may still be read
	heard        bool  // something was read since the request was sent
	dialed, used time.Time
}

func newConn(c net.Conn) *conn {
	now := time.Now()
	out := &conn{Conn: c, dialed: now, used: now}
	out.reader = bufio.NewReaderSize(budgeted{out}, bufferSize)
	return out
}

// budgeted reads a connection within its budget.
type budgeted struct{ c *conn }

func (b budgeted) Read(p []byte) (int, error) {
	c := b.c
	if c.budget <= 0 {
		return 0, errTooLong
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.budget)])
	c.budget -= int64(n)
	c.heard = c.heard || n > 0
	return n, err
}

// answer is what a server sent. Its body is the caller's buffer, perhaps grown.
type answer struct {
	response *http.Response // nil: none came
	body     []byte
	cut      error // the body ended early
	odd      error // its form is not what SQS sends
}

// post is all that http.ReadResponse wants to know about a request.
var post = &http.Request{Method: http.MethodPost}

// past is a deadline that ends any read and write.
var past = time.Unix(1, 0)

// exchange sends a request and reads the answer. keep reports that the connection can carry another call.
func (c *conn) exchange(ctx context.Context, request, buffer []byte) (a answer, keep bool, err error) {
	a.body = buffer[:0]
	c.budget, c.heard = maxHeader, false
	// A write and a read that are under way end at once; no goroutine watches a connection.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	defer func() {
		// A deadline that was set, or is about to be, would end the next call.
		if !stop() {
			keep = false
		}
	}()
	if _, err := c.Write(request); err != nil {
		return a, false, err
	}
	if err := c.readHeader(&a); err != nil {
		return a, false, err
	}
	c.budget = maxAnswer
	a.cut = c.readBody(&a)
	c.used = time.Now()
	// Bytes after the answer belong to no request of ours: they would pass for the next answer.
	return a, a.cut == nil && !a.response.Close && c.reader.Buffered() == 0, a.cut
}

func (c *conn) readHeader(a *answer) error {
	for range maxInterim + 1 {
		r, err := http.ReadResponse(c.reader, post)
		if err != nil {
			return err
		}
		if r.StatusCode >= 200 || r.StatusCode == http.StatusSwitchingProtocols {
			a.response = r
			return nil
		}
		a.odd = fmt.Errorf("%w: after status %d", errStrange, r.StatusCode)
	}
	return errors.New("too many interim answers")
}

// readBody reads the body to its end, or as much as comes of it. A length that two headers give differently, or that
// stands beside a Transfer-Encoding, is http.ReadResponse's to refuse or resolve.
func (c *conn) readBody(a *answer) error {
	r := a.response
	switch {
	case r.ContentLength > maxAnswer:
		return errTooLong
	case r.ContentLength < 0:
		if r.StatusCode == http.StatusOK {
			a.odd = fmt.Errorf("%w: no Content-Length", errStrange)
		}
		var err error
		a.body, err = io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
		if len(a.body) > maxAnswer {
			return errTooLong
		}
		return err
	}
	n := int(r.ContentLength)
	a.body = slices.Grow(a.body, n)[:n]
	got, err := io.ReadFull(r.Body, a.body)
	a.body = a.body[:got]
	return err
}

// stale reports that the server had closed the connection before it saw the request: with nothing, or with the
// "408 Request Timeout" that some load balancers leave on an idle connection.
func (c *conn) stale(a answer, err error) bool {
	if a.response != nil {
		return a.response.StatusCode == http.StatusRequestTimeout && a.response.Close
	}
	return err != nil && !c.heard
}

// pool keeps idle connections, the last used on top.
type pool struct {
	dial func(ctx context.Context) (net.Conn, error)
	mu   sync.Mutex
	idle []*conn
}

// exchange sends a request over a kept connection, or a new one. A kept connection that turns out to be closed is
// replaced once. A new one is not: whether to try again is for the SDK then.
func (p *pool) exchange(ctx context.Context, request, buffer []byte) (answer, error) {
	if c := p.take(); c != nil {
		a, keep, err := c.exchange(ctx, request, buffer)
		stale := ctx.Err() == nil && c.stale(a, err)
		p.put(c, keep && !stale)
		if !stale {
			return a, err
		}
	}
	if err := ctx.Err(); err != nil {
		return answer{body: buffer}, err
	}
	dialed, err := p.dial(ctx)
	if err != nil {
		return answer{body: buffer}, err
	}
	c := newConn(dialed)
	a, keep, err := c.exchange(ctx, request, buffer)
	p.put(c, keep)
	return a, err
}

// take returns a kept connection that is fit for use, or nil.
func (p *pool) take() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(c.dialed) < maxAge && time.Since(c.used) < maxIdle {
			return c
		}
		c.close()
	}
	return nil
}

func (p *pool) put(c *conn, keep bool) {
	if keep {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.idle) < maxIdleKept {
			p.idle = append(p.idle, c)
			return
		}
	}
	c.close()
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.close()
	}
	p.idle = nil
}

// close closes the connection. A tls.Conn would wait up to 5 s to say goodbye to a peer that does not read.
func (c *conn) close() {
	if secured, ok := c.Conn.(*tls.Conn); ok {
		_ = secured.NetConn().Close()
		return
	}
	_ = c.Conn.Close()
}
