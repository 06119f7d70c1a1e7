package awswire

import "sync"

// Recent remembers the last things it is told, up to a number. Its zero value remembers nothing.
type Recent[T any] struct {
	mu    sync.Mutex
	limit int
	next  int // where the oldest stands once the list is full
	list  []T
}

// NewRecent returns a memory for limit values; with none or fewer it remembers nothing.
func NewRecent[T any](limit int) *Recent[T] { return &Recent[T]{limit: limit} }

// Add remembers v and forgets the oldest value beyond the limit.
func (r *Recent[T]) Add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.limit <= 0:
	case len(r.list) < r.limit:
		r.list = append(r.list, v)
	default:
		r.list[r.next] = v
		r.next = (r.next + 1) % r.limit
	}
}

// All returns what is remembered, oldest first.
func (r *Recent[T]) All() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]T, 0, len(r.list))
	all = append(all, r.list[r.next:]...)
	return append(all, r.list[:r.next]...)
}
