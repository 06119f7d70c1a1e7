package ingestcmd

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cloakroom/etl"
)

// progress is the line on a terminal: rate, lag, in flight, rejected. It passes on what it is told.
type progress struct {
	next etl.Observer // may be nil

	mu             sync.Mutex
	rejected       int64
	done, lastDone int64
	lag            time.Duration
}

// showProgress observes a run and draws a line on standard error, if that is a terminal, until the result is called.
func showProgress(cmd *cobra.Command, o *etl.Options, held func() int) (stop func()) {
	out, ok := cmd.ErrOrStderr().(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return func() {}
	}
	p := &progress{next: o.Observe}
	o.Observe = p
	ticker := time.NewTicker(time.Second)
	ended, drawn := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drawn)
		for {
			select {
			case <-ticker.C:
				p.draw(out, held())
			case <-ended:
				fmt.Fprint(out, "\r\x1b[K")
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		ticker.Stop()
		close(ended)
		<-drawn
	})
}

func (p *progress) draw(w io.Writer, held int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(w, "\r\x1b[K%d events · %d/s · lag %v · %d in flight · %d rejected", p.done, p.done-p.lastDone, p.lag.Round(100*time.Millisecond), held, p.rejected)
	p.lastDone = p.done
}

// Received implements etl.Observer.
func (p *progress) Received(messages int) {
	if p.next != nil {
		p.next.Received(messages)
	}
}

// BatchCommitted implements etl.Observer.
func (p *progress) BatchCommitted(messages []*etl.Message, took time.Duration, c etl.Counts) {
	p.mu.Lock()
	p.done += int64(len(messages))
	for _, n := range c.Rejections {
		p.rejected += n
	}
	if len(messages) > 0 && !messages[0].Sent.IsZero() {
		p.lag = time.Since(messages[0].Sent)
	}
	p.mu.Unlock()
	if p.next != nil {
		p.next.BatchCommitted(messages, took, c)
	}
}
