package etl_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys"
)

// blocked is a source whose Receive waits until told, and then ends.
type blocked struct{ until chan struct{} }

func (b blocked) Receive(ctx context.Context) ([]*etl.Message, error) {
	select {
	case <-b.until:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// settled is a source that counts what it hears was committed.
type settled struct {
	etl.Source
	mu        sync.Mutex
	committed int
}

func (s *settled) Committed(messages []*etl.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed += len(messages)
}

// waiter tells when an input has committed as many events.
type waiter struct {
	input string
	left  int
	done  chan struct{}
	once  sync.Once
	mu    sync.Mutex
}

func (*waiter) Received(string, int) {}

func (w *waiter) BatchCommitted(input string, messages []*etl.Message, _ time.Duration, _ etl.Counts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if input == w.input {
		if w.left -= len(messages); w.left <= 0 {
			w.once.Do(func() { close(w.done) })
		}
	}
}

// Each input has its dataset and its counts, and hears of its own events alone. One that brings nothing delays none.
func TestInputs(t *testing.T) {
	t.Parallel()
	env := withOrders(t)
	w, err := etl.NewWriter(t.Context(), env.Vault(t, env.As(t, "ingest", "ingest")), []string{"login", "order"}, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	var orders []*etl.Message
	for n := range 300 {
		orders = append(orders, order(n, time.Now(), ""))
	}
	orders = append(orders, etltest.Message(1, `{"user_id":"u"}`))
	watch := &waiter{input: "orders", left: len(orders), done: make(chan struct{})}
	logins, others := &settled{Source: etltest.NewSource(etltest.Logins(0, 100))}, &settled{Source: etltest.NewSource(etltest.Parts(orders, 10)...)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := etl.RunInputs(ctx, w, []etl.Input{
		{Name: "silent", Source: blocked{watch.done}},
		{Name: "logins", Source: logins},
		{Name: "orders", Source: others, Dataset: "order"},
	}, etl.Options{Log: slog.New(slog.DiscardHandler), Observe: watch, BatchRows: 50})
	if err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if s.Stored != 400 || s.Rejected != 1 || len(s.Queues) != 3 {
		t.Errorf("%+v", s)
	}
	if l, o := s.Queues[1], s.Queues[2]; l.Queue != "logins" || l.Stored != 100 || o.Received != 301 || o.Stored != 300 || o.Rejections[etl.MissingField] != 1 {
		t.Errorf("by queue: %+v", s.Queues)
	}
	if logins.committed != 100 || others.committed != 301 {
		t.Errorf("the sources hear of %d and %d", logins.committed, others.committed)
	}
	if n := count(t, env, `SELECT count(*) FROM cloakroom.rejections WHERE dataset = 'order'`); n != 1 {
		t.Errorf("%d rejections of the dataset order, want 1", n)
	}
}

// failing is a source that fails after its messages.
type failing struct{ etl.Source }

func (f failing) Receive(ctx context.Context) ([]*etl.Message, error) {
	messages, err := f.Source.Receive(ctx)
	if err == io.EOF {
		err = errors.New("the queue is gone")
	}
	return messages, err
}

// An input that fails ends alone: what it brought is committed, the others go on, and the error names it.
func TestAnInputThatFails(t *testing.T) {
	t.Parallel()
	env := withOrders(t)
	w, err := etl.NewWriter(t.Context(), env.Vault(t, env.As(t, "ingest", "ingest")), []string{"login"}, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	slow := etltest.NewSource(etltest.Parts(etltest.Logins(100, 200), 10)...)
	slow.Before = func(int) { time.Sleep(20 * time.Millisecond) }
	s, err := etl.RunInputs(t.Context(), w, []etl.Input{
		{Name: "broken", Source: failing{etltest.NewSource(etltest.Logins(0, 50))}}, {Name: "slow", Source: slow},
	}, etl.Options{Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "broken: the queue is gone") || strings.Contains(err.Error(), "slow") {
		t.Errorf("the error is %v", err)
	}
	if s.Stored != 150 {
		t.Errorf("%+v, want 150 stored", s)
	}
	if _, err := etl.RunInputs(t.Context(), w, []etl.Input{{Name: "x", Source: slow, Dataset: "order"}}, etl.Options{}); err == nil ||
		!strings.Contains(err.Error(), "x: this vault has no dataset order") {
		t.Errorf("an input of a dataset that is not written: %v", err)
	}
}
