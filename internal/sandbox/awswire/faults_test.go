package awswire

import (
	"testing"
)

func meets(f *Faults, op string, calls int) (met int) {
	for range calls {
		if _, ok := f.Meet(op, ""); ok {
			met++
		}
	}
	return met
}

func TestFaultsMeetTheCallsTheyWereOrderedFor(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault Fault
		op    string
		calls int
		want  int
	}{
		{"every call for ever", Fault{}, "A", 100, 100},
		{"another operation", Fault{Op: "B"}, "A", 100, 0},
		{"the first three", Fault{Op: "A", Times: 3}, "A", 100, 3},
		{"after two", Fault{Skip: 2, Times: 1}, "A", 2, 0},
		{"the third", Fault{Skip: 2, Times: 1}, "A", 100, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f Faults
			f.Inject(tc.fault)
			if got := meets(&f, tc.op, tc.calls); got != tc.want {
				t.Errorf("met %d of %d calls, want %d", got, tc.calls, tc.want)
			}
		})
	}
}

func TestFractionOfCalls(t *testing.T) {
	var f Faults
	f.Inject(Fault{Fraction: 0.5})
	// 10,000 throws of a fair coin stay within 400 of the middle but once in 10^15.
	if got := meets(&f, "A", 10_000); got < 4_600 || got > 5_400 {
		t.Errorf("met %d of 10,000 calls, want about half", got)
	}
}

func TestFaultsCalledOff(t *testing.T) {
	var f Faults
	first := f.Inject(Fault{Op: "A", Error: ErrInternalFailure})
	f.Inject(Fault{Op: "A", Drop: true})
	if met, _ := f.Meet("A", ""); met.Drop {
		t.Error("the fault ordered second met the call first")
	}
	first()
	first() // twice is once
	if met, ok := f.Meet("A", ""); !ok || !met.Drop {
		t.Error("the fault ordered second does not meet the call after the first was called off")
	}
	f.Clear()
	if _, ok := f.Meet("A", ""); ok {
		t.Error("a fault meets a call after Clear")
	}
	if f.armed.Load() {
		t.Error("an empty set is armed: calls pay for it")
	}
}

func TestFaultOfAResource(t *testing.T) {
	var f Faults
	f.Inject(Fault{Op: "A", Resource: "b/k"})
	if _, ok := f.Meet("A", "b/other"); ok {
		t.Error("it met another resource")
	}
	if _, ok := f.Meet("A", "b/k"); !ok {
		t.Error("it did not meet its own")
	}
}
