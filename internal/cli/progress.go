package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"golang.org/x/time/rate"
)

const (
	// drawEvery is how often the line on a terminal is drawn.
	drawEvery = 200 * time.Millisecond
	// lineEvery is how often progress is a line of its own where there is no terminal.
	lineEvery = 10 * time.Second
)

// Progress shows on standard error how far a command has come: one line on a terminal, drawn again
// and again and taken off at the end, or a line now and then elsewhere.
//
// Nothing here waits for a total to be reached. Totals are estimates: rows come and go while a job
// runs.
type Progress struct {
	cmd     *cobra.Command
	out     *stream
	width   func() int // of the terminal; nil: there is none
	stopped chan struct{}
	drawn   chan struct{}
	end     func()

	mu     sync.Mutex
	step   step
	status func() string
	now    rate.Sometimes
}

// step is what is under way.
type step struct {
	name, noun  string
	done, total int64
	began       time.Time
	first       int64 // done when it was first heard of
}

// StartProgress begins to show progress. End it before the result is printed.
func StartProgress(cmd *cobra.Command) *Progress {
	p := &Progress{cmd: cmd, now: rate.Sometimes{Interval: lineEvery}}
	p.stopped, p.drawn = make(chan struct{}), make(chan struct{})
	p.now.Do(func() {}) // no line in the first ten seconds
	out, ok := cmd.ErrOrStderr().(*stream)
	if ok && IsTerminal(out) && !logsJSON(cmd) {
		p.out, p.width = out, func() int { return terminalWidth(out) }
	}
	p.end = sync.OnceFunc(func() { close(p.stopped); <-p.drawn })
	go p.run()
	return p
}

func terminalWidth(out *stream) int {
	if f, ok := out.w.(interface{ Fd() uintptr }); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// Step says how many rows, or whatever the noun is, a step has done, of about how many: 0 where that
// is unknown. It may be called from several goroutines; a count lower than the last one of the same
// step is late, and ignored.
func (p *Progress) Step(name, noun string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step.name != name {
		p.step = step{name: name, noun: noun, began: time.Now(), first: done}
	}
	p.step.done, p.step.total = max(p.step.done, done), total
}

// Status lets a function write the line, instead of Step.
func (p *Progress) Status(line func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = line
}

// End takes the line off. It may be called more than once.
func (p *Progress) End() { p.end() }

func (p *Progress) run() {
	defer close(p.drawn)
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	stopping := p.cmd.Context().Done()
	for {
		select {
		case <-tick.C:
			p.show()
		case <-stopping:
			stopping = nil
			Note(p.cmd, "stopping: what is in hand is finished first (once more: end at once)")
		case <-p.stopped:
			if p.out != nil {
				p.out.draw("")
			}
			return
		}
	}
}

func (p *Progress) show() {
	p.mu.Lock()
	at, status := p.step, p.status
	p.mu.Unlock()
	line := ""
	switch {
	case status != nil:
		line = status()
	case at.name != "":
		line = at.String()
	}
	switch {
	case line == "":
	case p.out != nil:
		p.out.draw(cut(line, p.width()-1))
	case status == nil: // a status is for people who look
		p.now.Do(func() { p.tell(at) })
	}
}

func (p *Progress) tell(at step) {
	if logsJSON(p.cmd) {
		logger(p.cmd).Info("progress", "step", at.name, "done", at.done, "about", at.total)
		return
	}
	Printf(p.cmd.ErrOrStderr(), "%s\n", at)
}

// String is the step for people: reseal: 1200 of about 20219 rows (5%), 480 rows/s, 40s left.
func (s step) String() string {
	text := fmt.Sprintf("%s: %s", s.name, Count(s.done, s.noun))
	if s.total > s.done {
		text = fmt.Sprintf("%s: %d of about %s (%d%%)", s.name, s.done, Count(s.total, s.noun), 100*s.done/s.total)
	}
	took := time.Since(s.began).Seconds()
	if took < 1 || s.done <= s.first {
		return text
	}
	speed := float64(s.done-s.first) / took
	text += fmt.Sprintf(", %.0f %ss/s", speed, s.noun)
	if s.total > s.done {
		left := time.Duration(float64(s.total-s.done) / speed * float64(time.Second)).Round(time.Second)
		text += fmt.Sprintf(", %s left", FormatDuration(left))
	}
	return text
}

// cut shortens a line to a given number of characters: one that wrapped could not be taken off again.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	runes := []rune(line)
	return string(runes[:max(0, width-1)]) + "…"
}

var _ io.Writer = (*stream)(nil)
