package etl_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys/keystest"
)

// generated hands over events that are made as they are asked for, and notes the largest heap it
// saw.
type generated struct {
	mu    sync.Mutex
	n     int
	of    int
	size  int
	make  func(n, size int) string
	peak  uint64
	every int
}

func (g *generated) Receive(context.Context) ([]*etl.Message, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n >= g.of {
		return nil, io.EOF
	}
	if g.n%g.every == 0 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		g.peak = max(g.peak, stats.HeapInuse)
	}
	g.n++
	return []*etl.Message{etltest.Message(g.n, g.make(g.n, g.size))}, nil
}

// Bodies of 1 MiB, as large as a queue carries: good ones and bad ones end as they should, and the
// memory that many of them take is bounded by the batches under way.
func TestLargeBodies(t *testing.T) {
	if testing.Short() {
		t.Skip("200 MiB go through Postgres")
	}
	env := keystest.New(t)
	source := &generated{of: 200, size: 1 << 20, every: 5}
	source.make = func(n, size int) string {
		switch n % 4 {
		case 0: // a long unknown member
			head := strings.TrimSuffix(etltest.LoginBody(n), "}") + `,"x":"`
			return head + strings.Repeat("x", size-len(head)-2) + `"}`
		case 1: // no JSON at all
			return strings.Repeat("\xff", size)
		case 2: // many members
			return `{"a":[` + strings.Repeat(`1e999,`, size/6-10) + `1]}`
		default: // a value that is too long
			return fmt.Sprintf(`{"user_id":"u","ip":"::1","device_id":"%s"}`, strings.Repeat("é", (size-50)/2))
		}
	}
	s := etltest.Run(t, etltest.NewWriter(t, env, "ingest"), source, etl.Options{BatchBytes: 4 << 20})
	if s.Stored != 50 || s.Rejections[etl.InvalidUTF8] != 50 || s.Rejections[etl.MissingField] != 50 || s.Rejections[etl.TooLong] != 50 {
		t.Errorf("%+v", s)
	}
	// Some ten batches are under way at once, each with its messages and three times that as text
	// for COPY.
	const bound = 256 << 20
	t.Logf("heap in use at most %d MiB", source.peak>>20)
	if source.peak > bound {
		t.Errorf("the heap grew to %d MiB, want at most %d", source.peak>>20, bound>>20)
	}
}
