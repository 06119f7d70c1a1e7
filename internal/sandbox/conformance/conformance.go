// Package conformance says, as checks, what cloakroom needs of an SQS and of a KMS. They use the real SDK clients and
// nothing of the sandbox, so that the same checks run against the sandbox's fakes, against other people's, and
// against AWS: whatever AWS_ENDPOINT_URL_SQS and AWS_ENDPOINT_URL_KMS name. They prove the operations that the fakes
// have (see sqsserver and kmsserver, which say why those) and no others.
//
// A check promises only what AWS documents or what both AWS and the fake were seen to do. It makes its own queue
// or key, and takes the queue away again (a key it leaves scheduled for deletion).
package conformance

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// Gaps are checks that a server is known to fail, by name, each with the reason. Such a check must go on failing: a
// gap that has closed is a test failure, so that the list stays true.
type Gaps map[string]string

// limit is how long a check may take; the longest waits are a few seconds.
const limit = 30 * time.Second

// check is one thing that is asked of a server. It fails by trial.failf.
type check[E any] struct {
	name string
	run  func(*trial, E)
}

// trial is one run of a check.
type trial struct {
	context.Context
	deferred []func()
}

// failure carries a failed check out of its function. A testing.T cannot be failed on trial, which Gaps needs.
type failure struct{ error }

func (t *trial) failf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (t *trial) noError(err error, doing string) {
	if err != nil {
		panic(failure{fmt.Errorf("%s: %w", doing, err)})
	}
}

// later runs f when the check is over, last first.
func (t *trial) later(f func()) { t.deferred = append(t.deferred, f) }

func runAll[E any](t *testing.T, checks []check[E], env E, gaps Gaps) {
	known := map[string]bool{}
	for _, c := range checks {
		known[c.name] = true
	}
	for name := range gaps {
		if !known[name] {
			t.Errorf("the gap %q names no check", name)
		}
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := attempt(t.Context(), func(tr *trial) { c.run(tr, env) })
			reason, gap := gaps[c.name]
			switch {
			case gap && err == nil:
				t.Errorf("the server passes, so this is no gap any more: %s", reason)
			case gap:
				t.Logf("known gap: %s (%v)", reason, err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func attempt(parent context.Context, run func(*trial)) (err error) {
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	t := &trial{Context: ctx}
	defer func() {
		for i := len(t.deferred) - 1; i >= 0; i-- {
			t.deferred[i]()
		}
	}()
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = f.error
		}
	}()
	run(t)
	return nil
}

// wantError fails the check unless err is of the SDK's type for one shape.
func wantError[E error](t *trial, err error, doing string) {
	var want E
	if err == nil {
		t.failf("%s: succeeded, want %T", doing, want)
	}
	if !errors.As(err, &want) {
		t.failf("%s: got %v, want %T", doing, err, want)
	}
}

func equal[T comparable](t *trial, got, want T, what string) {
	if got != want {
		t.failf("%s: got %v, want %v", what, got, want)
	}
}

// soon fails the check unless done comes true within d.
func (t *trial) soon(d time.Duration, what string, done func() bool) {
	for end := time.Now().Add(d); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.failf("%s: not within %v", what, d)
		}
	}
}
