package main

import (
	"bytes"
	"context"
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

// measureFlat measures the peak memory of this process while it ingests few and many events.
func (b *bench) measureFlat(ctx context.Context, few, many int) error {
	if err := resetPeak(); err != nil {
		b.note("Not measured: memory. " + err.Error())
		return nil
	}
	// A process takes less in its first seconds than later: buffers grow, the collector finds its pace.
	warm := 10 * few
	var peaks []float64
	for _, n := range []int{warm, few, many} {
		peak, err := b.peakOf(ctx, n)
		if err != nil {
			return err
		}
		peaks = append(peaks, peak)
	}
	b.section(
		"Memory",
		fmt.Sprintf(
			"the largest resident set of this process, this program's own measuring included, from memory to commit, after %s events to warm up",
			thousands(warm)),
	)
	b.line(thousands(few)+" events", fmt.Sprintf("%.0f MiB", peaks[1]), "", "")
	b.line(thousands(many)+" events", fmt.Sprintf("%.0f MiB", peaks[2]), "", "")
	b.ratio("many / few", peaks[2]/peaks[1], atMost(1.1))
	return nil
}

// peakOf ingests n events into an emptied table and returns the largest resident set meanwhile, in MiB.
func (b *bench) peakOf(ctx context.Context, n int) (float64, error) {
	if err := b.empty.truncate(ctx); err != nil {
		return 0, err
	}
	debug.FreeOSMemory()
	if err := resetPeak(); err != nil {
		return 0, err
	}
	source := &endless{g: newGenerator(uniform, uint64(n)), left: n}
	s, err := etl.Run(ctx, b.empty.writer, source, etl.Options{Log: quiet, Loaders: loaders, BatchRows: batchRows})
	if err == nil && s.Stored != int64(n) {
		err = fmt.Errorf("of %d events %d were stored", n, s.Stored)
	}
	if err != nil {
		return 0, err
	}
	return peakMiB()
}

// resetPeak makes the kernel forget the largest resident set so far: proc(5), clear_refs.
func resetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMiB is the largest resident set since, in MiB: VmHWM.
func peakMiB() (float64, error) {
	kib, err := kibibytes("/proc/self/status", "VmHWM:")
	return kib / 1024, err
}

// kibibytes reads one line of a file of proc(5), "Name:  123 kB".
func kibibytes(file, name string) (float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(text, []byte(name))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, fmt.Errorf("%s has no %s", file, name)
	}
	return strconv.ParseFloat(string(fields[0]), 64)
}

// quarterOfMemory is the machine's memory by four, as Postgres writes sizes; 1 GB where the system does not say.
func quarterOfMemory() string {
	kib, err := kibibytes("/proc/meminfo", "MemTotal:")
	if err != nil {
		return "1GB"
	}
	return fmt.Sprintf("%dMB", int(kib)>>12)
}
