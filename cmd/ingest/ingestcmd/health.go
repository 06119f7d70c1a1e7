package ingestcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"cloakroom/etl"
	"cloakroom/etl/metrics"
	"cloakroom/keys"
)

// polled is a source of which health asks whether it moves.
type polled interface {
	LastPoll() time.Time
	Full() bool
	Healthy() error
}

// health answers /livez and /readyz. It observes the run: an outage downstream stops the receiving
// loop, and that is no reason to restart the daemon.
type health struct {
	etl.Observer
	ask     func(context.Context) error // the database whether it answers
	sources map[string]polled           // by the queue's name

	probes singleflight.Group // of the database: one at a time, whose answer all share

	mu      sync.Mutex
	moved   map[string]time.Time // when a batch of a queue was last committed
	tried   time.Time            // when a try to commit one ended, of whatever queue
	holding map[string]string    // what events wait for, by what is done
}

func newHealth(next etl.Observer, v *keys.Vault, sources map[string]polled) *health {
	return &health{Observer: next, sources: sources, ask: func(ctx context.Context) error {
		_, err := v.Settings(ctx)
		return err
	}}
}

// stuck is how long nothing may move: longer than any single call that the daemon waits for.
const stuck = 3 * time.Minute

// probeTimeout bounds an answer. A probe that waits is as bad as one that fails.
const probeTimeout = 3 * time.Second

// live reports whether each queue moves, or waits for room.
func (h *health) live(context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(h.sources)) {
		from := h.sources[name]
		h.mu.Lock()
		moved := h.moved[name]
		if h.tried.After(moved) {
			moved = h.tried
		}
		h.mu.Unlock()
		if polled := from.LastPoll(); polled.After(moved) {
			moved = polled
		}
		if idle := time.Since(moved); idle > stuck && !from.Full() {
			return fmt.Errorf("%snothing was received or committed, and no try ended, for %v", h.of(name),
				idle.Round(time.Second))
		}
	}
	return nil
}

// of names a queue in front of what is said of it, where there are several.
func (h *health) of(name string) string {
	if len(h.sources) < 2 {
		return ""
	}
	return "queue " + name + ": "
}

// ready reports whether the database answers, each queue did so last, and no event waits for the
// database, the KEK or the store of its body.
func (h *health) ready(ctx context.Context) error {
	h.mu.Lock()
	var waiting []string
	for _, doing := range slices.Sorted(maps.Keys(h.holding)) {
		waiting = append(waiting, h.holding[doing])
	}
	h.mu.Unlock()
	if len(waiting) > 0 {
		return fmt.Errorf("holding events: %s", strings.Join(waiting, "; "))
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
		return h.queues()
	case <-ctx.Done():
		return fmt.Errorf("the database has not answered within %v", probeTimeout)
	}
}

// queues returns an error while a queue is away.
func (h *health) queues() error {
	var away []string
	for _, name := range slices.Sorted(maps.Keys(h.sources)) {
		if err := h.sources[name].Healthy(); err != nil {
			away = append(away, h.of(name)+err.Error())
		}
	}
	if len(away) > 0 {
		return errors.New(strings.Join(away, "; "))
	}
	return nil
}

// hold is etl.Options.Holding.
func (h *health) hold(doing string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holding == nil {
		h.holding = map[string]string{}
	}
	h.tried, h.holding[doing] = time.Now(), fmt.Sprintf("%s: %v", doing, err)
}

// resume is etl.Options.Resumed.
func (h *health) resume(doing string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.holding, doing)
}

// BatchCommitted implements etl.Observer.
func (h *health) BatchCommitted(queue string, messages []*etl.Message, took time.Duration, c etl.Counts) {
	h.mu.Lock()
	if h.moved == nil {
		h.moved = map[string]time.Time{}
	}
	h.moved[queue] = time.Now()
	h.mu.Unlock()
	h.Observer.BatchCommitted(queue, messages, took, c)
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
