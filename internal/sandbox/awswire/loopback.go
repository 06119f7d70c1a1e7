package awswire

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// Loopback serves one handler over HTTP, and can go away and come back at the same address as a service in an
// outage does. Its zero value is ready.
type Loopback struct {
	mu      sync.Mutex
	idle    sync.Cond // on mu: a handler returned
	addr    string
	server  *http.Server
	running int
	done    chan struct{}
}

// Start listens on addr; an empty one is a free port of 127.0.0.1. After Close it listens where it did before.
func (l *Loopback) Start(addr string, h http.Handler) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server != nil {
		return fmt.Errorf("starting the fake: already listening on %s", l.addr)
	}
	if l.addr != "" {
		addr = l.addr
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("starting the fake: %w", err)
	}
	l.idle.L = &l.mu
	l.addr = listener.Addr().String()
	l.done = make(chan struct{})
	// An aborted handler is how a dropped connection is staged, so the server's own log has nothing to tell.
	server := &http.Server{Handler: l.counted(h), ErrorLog: log.New(io.Discard, "", 0)}
	ctx, cancel := context.WithCancel(context.Background())
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	l.server = server
	go func(done chan struct{}) {
		defer close(done)
		defer cancel()
		_ = server.Serve(listener) // always returns an error; Close is the only cause
	}(l.done)
	return nil
}

func (l *Loopback) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.running++
		l.mu.Unlock()
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.running--
			l.idle.Broadcast()
		}()
		h.ServeHTTP(w, r)
	})
}

// URL is where clients find the handler, such as "http://127.0.0.1:40123"; empty before the first Start.
func (l *Loopback) URL() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addr == "" {
		return ""
	}
	return "http://" + l.addr
}

// Close cuts every connection, ends waiting calls and returns when the last handler has. It may be called twice.
func (l *Loopback) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		return nil
	}
	err := l.server.Close()
	done := l.done
	l.server = nil
	for l.running > 0 {
		l.idle.Wait()
	}
	l.mu.Unlock()
	<-done
	l.mu.Lock()
	return err
}
