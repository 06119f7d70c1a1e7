package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"cloakroom/etl/unwrap"
)

// picky refuses to delete some objects, always.
type picky struct {
	mu      sync.Mutex
	deleted map[string]bool
	all     chan struct{} // closed when want are deleted
	want    int
}

func (p *picky) Delete(_ context.Context, _, key string) error {
	if strings.HasPrefix(key, "locked/") {
		return errors.New("refused")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deleted[key] = true; len(p.deleted) == p.want {
		close(p.all)
	}
	return nil
}

// Objects that may not be deleted hold up no others, however many they are.
func TestRefusedDeletesHoldUpNoOthers(t *testing.T) {
	store := &picky{deleted: map[string]bool{}, all: make(chan struct{}), want: 50}
	d := newDeletions(store, slog.New(slog.DiscardHandler))
	const locked = 2 * objectDeleters
	for n := range locked {
		d.add(unwrap.Pointer{Bucket: "b", Key: fmt.Sprint("locked/", n)})
	}
	for n := range store.want {
		d.add(unwrap.Pointer{Bucket: "b", Key: fmt.Sprint("free/", n)})
	}
	select {
	case <-store.all:
	case <-time.After(20 * time.Second):
		t.Error("objects wait for others that may not be deleted")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	d.close(ctx)
	if d.left != locked {
		t.Errorf("%d objects stay, want %d", d.left, locked)
	}
}
