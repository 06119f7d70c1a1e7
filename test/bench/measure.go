package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// sample is one run of one contender.
type sample struct {
	rows int
	wall time.Duration
	cpu  time.Duration // of this process, user and system: servers are processes of their own
}

func (s sample) rate() float64     { return float64(s.rows) / s.wall.Seconds() }
func (s sample) cpuMicro() float64 { return float64(s.cpu.Nanoseconds()) / 1e3 / float64(s.rows) }

// stopwatch measures what happens between its start and its stop.
type stopwatch struct {
	wall time.Time
	cpu  time.Duration
}

// start begins with a clean heap: a contender does not pay for what its neighbour left.
func start() stopwatch {
	runtime.GC()
	return stopwatch{wall: time.Now(), cpu: cpuTime()}
}

func (w stopwatch) stop(rows int) sample {
	return sample{rows: rows, wall: time.Since(w.wall), cpu: cpuTime() - w.cpu}
}

// cpuTime is what this process has used so far: getrusage(RUSAGE_SELF).
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// contender is one of several that are measured in turn.
type contender struct {
	name string
	run  func(ctx context.Context) (sample, error)
}

// series are the samples of contenders that took turns: A B C A B C …
type series map[string][]sample

// pace says how often contenders take their turns: at least least times, and up to most times while it is not late.
type pace struct {
	least, most int
	late        time.Time // zero: never
}

func (p pace) again(done int) bool {
	return done < p.least || done < p.most && (p.late.IsZero() || time.Now().Before(p.late))
}

// interleave lets contenders take turns, so that whatever else the machine does falls on all of them.
func interleave(ctx context.Context, p pace, contenders ...contender) (series, error) {
	s := series{}
	for done := 0; p.again(done); done++ {
		for _, c := range contenders {
			one, err := c.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("measuring %s: %w", c.name, err)
			}
			s[c.name] = append(s[c.name], one)
		}
	}
	return s, nil
}

// rate is a contender's median rate, in rows a second.
func (s series) rate(name string) float64 { return median(each(s[name], sample.rate)) }

// cpu is a contender's median CPU time of this process, in microseconds a row.
func (s series) cpu(name string) float64 { return median(each(s[name], sample.cpuMicro)) }

// rateRatio is the median of a's rate over b's, each pair of one round.
func (s series) rateRatio(a, b string) float64 { return s.ratio(a, b, sample.rate) }

// cpuRatio is the median of a's CPU time a row over b's, each pair of one round.
func (s series) cpuRatio(a, b string) float64 { return s.ratio(a, b, sample.cpuMicro) }

func (s series) ratio(a, b string, of func(sample) float64) float64 {
	var ratios []float64
	for i := range s[a] {
		ratios = append(ratios, of(s[a][i])/of(s[b][i]))
	}
	return median(ratios)
}

func each(samples []sample, of func(sample) float64) []float64 {
	var out []float64
	for _, s := range samples {
		out = append(out, of(s))
	}
	return out
}

// median of an even number is the mean of the two in the middle; of nothing it is 0.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
