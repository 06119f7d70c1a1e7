package etl

import (
	"context"
	"errors"
	"time"
)

// errLeft reports a call to the database that was left behind. What it was given must not be used again.
var errLeft = errors.New("left a call to the database behind")

// leaveAfter is how long a call has, once its context ended, to end as well.
const leaveAfter = time.Second

// orLeave calls the database, and leaves the call behind where it goes on after ctx has ended: lib/pq asks the server to
// cancel and then waits for its answer, and a server that hangs gives none.
func orLeave[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := call()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(leaveAfter):
		var none T
		return none, errLeft
	}
}
