package keyscmd

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"cloakroom/keys/rotation"
)

// lineEvery is how often progress is a line where there is no terminal.
const lineEvery = 10 * time.Second

// showProgress shows how far a job has come, on standard error: bars on a terminal, a line now and then elsewhere. The second
// result ends it.
func showProgress(cmd *cobra.Command) (func(rotation.Progress), func()) {
	out := cmd.ErrOrStderr()
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b := &bars{all: mpb.New(mpb.WithOutput(out), mpb.WithWidth(60)), by: map[string]*mpb.Bar{}}
		return b.show, b.end
	}
	l := &lines{out: out, began: map[string]time.Time{}, last: time.Now()}
	return l.show, func() {}
}

type bars struct {
	all *mpb.Progress
	mu  sync.Mutex
	by  map[string]*mpb.Bar
}

func (b *bars) show(p rotation.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bar := b.by[p.Step]
	if bar == nil {
		bar = b.all.AddBar(p.Rows,
			mpb.PrependDecorators(decor.Name(p.Step, decor.WCSyncSpaceR), decor.CountersNoUnit("%d / %d", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f rows/s", decor.WCSyncSpace), decor.Name(" ETA "), decor.AverageETA(decor.ET_STYLE_GO)))
		b.by[p.Step] = bar
	}
	// Workers report out of order, and the estimate may fall short.
	bar.SetTotal(max(p.Rows, p.Done)+1, false)
	if p.Done > bar.Current() {
		bar.SetCurrent(p.Done)
	}
}

func (b *bars) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, bar := range b.by {
		bar.SetTotal(bar.Current(), true)
	}
	b.all.Wait()
}

type lines struct {
	out   io.Writer
	mu    sync.Mutex
	began map[string]time.Time
	last  time.Time
}

func (l *lines) show(p rotation.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	began, known := l.began[p.Step]
	if !known {
		l.began[p.Step] = now
		return
	}
	if now.Sub(l.last) < lineEvery {
		return
	}
	l.last = now
	rate := float64(p.Done) / now.Sub(began).Seconds()
	line := fmt.Sprintf("%s: %d rows, %.0f rows/s", p.Step, p.Done, rate)
	if p.Rows > p.Done && rate > 0 {
		line += fmt.Sprintf(", of about %d, ETA %v", p.Rows, time.Duration(float64(p.Rows-p.Done)/rate*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintln(l.out, line)
}
