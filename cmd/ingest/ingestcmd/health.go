package ingestcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"cloakroom/etl"
	"cloakroom/etl/metrics"
	"cloakroom/etl/source"
	"cloakroom/keys"
)

// health answers /livez and /readyz. It observes the run: an outage downstream stops the receiving
// loop, and that is no reason to restart the daemon.
type health struct {
	etl.Observer
	ask    func(context.Context) error // the database whether it answers
	source interface {
		LastPoll() time.Time
		Full() bool
		Healthy() error
	}
	probes singleflight.Group // of the database: one at a time, whose answer all share

	mu      sync.Mutex
	moved   time.Time // when a batch was last committed, or a try to commit one ended
	holding string    // what events wait for; empty once a batch was committed
}

func newHealth(next etl.Observer, v *keys.Vault, queued *source.SQS) *health {
	return &health{Observer: next, source: queued, ask: func(ctx context.Context) error {
		_, err := v.Settings(ctx)
		return err
	}}
}

// stuck is how long nothing may move: longer than any single call that the daemon waits for.
const stuck = 3 * time.Minute

// probeTimeout bounds an answer. A probe that waits is as bad as one that fails.
const probeTimeout = 3 * time.Second

// live reports whether something moves, or receiving waits for room.
func (h *health) live(context.Context) error {
	h.mu.Lock()
	moved := h.moved
	h.mu.Unlock()
	if polled := h.source.LastPoll(); polled.After(moved) {
		moved = polled
	}
	if idle := time.Since(moved); idle > stuck && !h.source.Full() {
		return fmt.Errorf("nothing was received or committed, and no try ended, for %v", idle.Round(time.Second))
	}
	return nil
}

// ready reports whether the database answers, the queue did so last, and no event waits for the
// database or the KEK.
func (h *health) ready(ctx context.Context) error {
	h.mu.Lock()
	holding := h.holding
	h.mu.Unlock()
	if holding != "" {
		return fmt.Errorf("holding events: %s", holding)
	}
	// The driver does not always honour a context, so a probe may outlast the request that began
	// it. Later requests join it: a database that hangs is asked by one connection.
	answer := h.probes.DoChan("database", func() (any, error) {
		probing, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		return nil, h.ask(probing)
	})
	select {
	case a := <-answer:
		if a.Err != nil {
			return a.Err
		}
		return h.source.Healthy()
	case <-ctx.Done():
		return fmt.Errorf("the database has not answered within %v", probeTimeout)
	}
}

// hold is etl.Options.Holding.
func (h *health) hold(doing string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved, h.holding = time.Now(), fmt.Sprintf("%s: %v", doing, err)
}

// BatchCommitted implements etl.Observer.
func (h *health) BatchCommitted(messages []*etl.Message, took time.Duration, c etl.Counts) {
	h.mu.Lock()
	h.moved, h.holding = time.Now(), ""
	h.mu.Unlock()
	h.Observer.BatchCommitted(messages, took, c)
}

// serve starts the HTTP server, if an address is configured. The result stops it.
func serve(addr string, m *metrics.Metrics, h *health) (func(), error) {
	if addr == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening on --http-addr: %w: choose another address, or stop what listens there", err)
	}
	slog.Info("serving metrics and health", "address", listener.Addr().String())
	server := newServer(m.Handler(), h)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("serving metrics ended", "error", err)
		}
	}()
	return func() { server.Close() }, nil
}

// newServer serves metrics and health. No client holds a connection for longer than it needs one:
// who says nothing, reads slowly, or has had its answer, is cut off.
func newServer(metrics http.Handler, h *health) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /livez", answer(h.live))
	mux.HandleFunc("GET /readyz", answer(h.ready))
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, // longer than the usual scrape interval
	}
}

func answer(check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		if err := check(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
