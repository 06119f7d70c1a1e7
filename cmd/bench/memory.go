package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"sync"

	"cloakroom/etl"
)

// endless is a source that makes its events as they are asked for, so that they take no memory before.
type endless struct {
	mu   sync.Mutex
	g    *generator
	left int
}

func (e *endless) Receive(context.Context) ([]*etl.Message, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left == 0 {
		return nil, io.EOF
	}
	n := min(partSize, e.left)
	e.left -= n
	return e.g.messages(n), nil
}

// measureFlat measures how much memory this process takes at the most while it ingests few and many events.
func (b *bench) measureFlat(ctx context.Context, few, many int) error {
	var peaks []float64
	for i, n := range []int{few, many} {
		if err := b.empty.truncate(ctx); err != nil {
			return err
		}
		debug.FreeOSMemory()
		if err := resetPeak(); err != nil {
			b.note("Not measured: memory. " + err.Error())
			return nil
		}
		s, err := etl.Run(ctx, b.empty.writer, &endless{g: newGenerator(uniform, uint64(20+i)), left: n}, etl.Options{Log: quiet, Loaders: loaders, BatchRows: batchRows})
		if err == nil && s.Stored != int64(n) {
			err = fmt.Errorf("of %d events %d were stored", n, s.Stored)
		}
		if err != nil {
			return err
		}
		peak, err := peakMiB()
		if err != nil {
			return err
		}
		peaks = append(peaks, peak)
	}
	b.section("Memory", "the largest resident set of this process, this program's own measuring included, from memory to commit")
	for i, n := range []int{few, many} {
		b.line(thousands(n)+" events", fmt.Sprintf("%.0f MiB", peaks[i]), "", "")
	}
	b.ratio("many / few", peaks[1]/peaks[0], atMost(1.1))
	return nil
}

// resetPeak makes the kernel forget the largest resident set so far: proc(5), clear_refs.
func resetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMiB is the largest resident set since, in MiB: VmHWM.
func peakMiB() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, errors.New("/proc/self/status has no VmHWM")
	}
	kib, err := strconv.ParseFloat(string(fields[0]), 64)
	return kib / 1024, err
}
