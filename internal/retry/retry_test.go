package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cloakroom/internal/retry"
)

var errBusy, errWrong = errors.New("busy"), errors.New("wrong")

func isBusy(err error) bool { return errors.Is(err, errBusy) }

func TestDo(t *testing.T) {
	for name, c := range map[string]struct {
		results []error // of the tries, the last one again and again
		pauses  retry.Pauses
		tries   int
		want    []error
	}{
		"at once":            {results: []error{nil}, tries: 1},
		"after two failures": {results: []error{errBusy, errBusy, nil}, tries: 3},
		"not worth a retry":  {results: []error{errBusy, errWrong, nil}, tries: 2, want: []error{errWrong}},
		"no time left":       {results: []error{errBusy}, pauses: retry.Pauses{First: time.Second, Max: time.Second, Total: 100 * time.Millisecond}, tries: 1, want: []error{errBusy, retry.ErrGaveUp}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := retry.Do(t.Context(), c.pauses, isBusy, func() error {
					tries++
					return c.results[min(tries, len(c.results))-1]
				})
				if tries != c.tries {
					t.Errorf("%d tries, want %d", tries, c.tries)
				}
				if (err == nil) != (len(c.want) == 0) {
					t.Fatalf("error %v", err)
				}
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("error %v, want %v in it", err, want)
					}
				}
			})
		})
	}
}

// Total is kept, and the pauses grow: a loop that hammers would try thousands of times.
func TestDoPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := retry.Do(t.Context(), retry.Pauses{Total: time.Minute}, nil, func() error { tries++; return errBusy })
		if took := time.Since(began); took > time.Minute || took < 50*time.Second {
			t.Errorf("tried for %v, want a minute", took)
		}
		if !errors.Is(err, retry.ErrGaveUp) || tries < 10 || tries > 60 {
			t.Errorf("%d tries in a minute, error %v", tries, err)
		}
	})
}

func TestDoEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := retry.Do(ctx, retry.Pauses{First: time.Hour, Max: time.Hour}, nil, func() error { return errBusy })
		if time.Since(began) != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errBusy) {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
