package awswire

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is a failure on order. Its zero value matches every call forever and does nothing.
type Fault struct {
	Op       string        // the operation it meets; empty: all
	Skip     int           // how many matching calls pass unharmed first
	Times    int           // how many calls it meets; 0: until cleared
	Fraction float64       // of the matching calls, chosen at random; 0: all
	Delay    time.Duration // waits so long first; ends early when the client goes away
	Error    *Error        // answers this
	Drop     bool          // cuts the connection without an answer; wins over Error
	After    bool          // Error and Drop strike after the operation took effect, not before
	// Resource is what the call must be about, where a service tells: for S3 "bucket/key", for SQS a queue's name;
	// empty: anything.
	Resource string
	// Cut ends the connection after this many bytes of an S3 object's body; 0: not at all.
	Cut int64
}

// Faults is a set of faults on order. Its zero value is empty and costs a call next to nothing.
type Faults struct {
	armed atomic.Bool
	mu    sync.Mutex
	list  []*Fault
}

// Inject orders a fault and returns how to call it off. Of several that match, the one ordered first meets the call.
func (f *Faults) Inject(fault Fault) (cancel func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ordered := &fault
	f.list = append(f.list, ordered)
	f.armed.Store(true)
	return func() { f.remove(ordered) }
}

// Clear calls off every fault.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
	f.armed.Store(false)
}

func (f *Faults) remove(gone *Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removeLocked(gone)
}

func (f *Faults) removeLocked(gone *Fault) {
	for i, fault := range f.list {
		if fault == gone {
			f.list = append(f.list[:i:i], f.list[i+1:]...)
			break
		}
	}
	f.armed.Store(len(f.list) > 0)
}

// Meet returns the fault that meets a call of op about a resource.
func (f *Faults) Meet(op, resource string) (Fault, bool) {
	if f == nil || !f.armed.Load() {
		return Fault{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.list {
		if fault.Op != "" && fault.Op != op || fault.Resource != "" && fault.Resource != resource {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		if fault.Fraction > 0 && rand.Float64() >= fault.Fraction {
			continue
		}
		met := *fault
		if fault.Times == 1 {
			f.removeLocked(fault)
		} else if fault.Times > 1 {
			fault.Times--
		}
		return met, true
	}
	return Fault{}, false
}

// Wait is the fault's delay.
func (f Fault) Wait(ctx context.Context) error {
	if f.Delay <= 0 {
		return nil
	}
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ErrDropped
	}
}

// Strike is what the call ends with; nil: the fault does nothing but wait or cut.
func (f Fault) Strike() error {
	if f.Drop {
		return ErrDropped
	}
	if f.Error != nil {
		return f.Error
	}
	return nil
}
