package sqsserver

// place is one message's place in the ready ring. It is stale, and skipped, once the message's stamp has moved on.
type place struct{ slot, stamp uint32 }

// ring is a first-in, first-out queue that reuses its memory and gives it back when it has emptied.
type ring struct {
	places []place // its length is a power of two, or zero
	head   int
	count  int
}

const smallRing = 1024

func (r *ring) push(p place) {
	if r.count == len(r.places) {
		r.resize(max(64, 2*r.count))
	}
	r.places[(r.head+r.count)&(len(r.places)-1)] = p
	r.count++
}

func (r *ring) pop() (place, bool) {
	if r.count == 0 {
		return place{}, false
	}
	p := r.places[r.head]
	r.head = (r.head + 1) & (len(r.places) - 1)
	r.count--
	if r.count == 0 && len(r.places) > smallRing {
		*r = ring{}
	}
	return p, true
}

func (r *ring) resize(size int) {
	places := make([]place, size)
	for i := range r.count {
		places[i] = r.places[(r.head+i)&(len(r.places)-1)]
	}
	r.places, r.head = places, 0
}
