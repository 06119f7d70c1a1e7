// Package ptytest runs a program on a terminal, for tests of what it shows there.
package ptytest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
)

// Timeout is how long a program may take: one that hangs fails its test.
const Timeout = 60 * time.Second

// Program is a program whose standard input and standard error are a terminal; its standard output
// is, too, unless it was set before Start.
type Program struct {
	Cmd      *exec.Cmd
	t        testing.TB
	terminal *os.File
	columns  int
	read     chan struct{} // closed when everything was read

	mu  sync.Mutex
	out strings.Builder
}

// Start starts a program on a terminal of a given number of columns.
func Start(t testing.TB, columns int, cmd *exec.Cmd) *Program {
	t.Helper()
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: uint16(columns)})
	if err != nil {
		t.Fatal(err)
	}
	p := &Program{Cmd: cmd, t: t, terminal: terminal, columns: columns, read: make(chan struct{})}
	go func() {
		defer close(p.read)
		buffer := make([]byte, 4096)
		for {
			n, err := terminal.Read(buffer)
			p.mu.Lock()
			p.out.Write(buffer[:n])
			p.mu.Unlock()
			if err != nil {
				return // EIO: the program has ended
			}
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = terminal.Close() })
	return p
}

// Type types a text.
func (p *Program) Type(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.terminal, text); err != nil {
		p.t.Fatal(err)
	}
}

// Seen is all that was written to the terminal until now.
func (p *Program) Seen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// WaitFor waits until a text was written to the terminal.
func (p *Program) WaitFor(text string) {
	p.t.Helper()
	for end := time.Now().Add(Timeout); !strings.Contains(p.Seen(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%q is not on the terminal after %v:\n%q", text, Timeout, p.Seen())
		}
	}
}

// Wait waits until the program ends, and returns its exit code.
func (p *Program) Wait() int {
	p.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- p.Cmd.Wait() }()
	select {
	case err := <-ended:
		<-p.read
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(Timeout):
		p.t.Fatalf("it hangs; the terminal shows:\n%q", p.Seen())
		return -1
	}
}

// Screen is what stands on the terminal now, line by line: it obeys \r, \n and "erase to the end of
// the line", and fails the test at any other command, and where a line did not fit.
func (p *Program) Screen() []string {
	p.t.Helper()
	lines, line, column := []string(nil), []rune(nil), 0
	for text := p.Seen(); text != ""; {
		switch {
		case strings.HasPrefix(text, "\x1b[K"):
			line, text = line[:min(column, len(line))], text[len("\x1b[K"):]
			continue
		case text[0] == '\r':
			column = 0
		case text[0] == '\n':
			lines, line, column = append(lines, string(line)), nil, 0
		default:
			r, size := utf8.DecodeRuneInString(text)
			if r < ' ' || r == utf8.RuneError {
				p.t.Fatalf("an unexpected command on the terminal: %q", text[:min(20, len(text))])
			}
			line = append(line[:min(column, len(line))], append([]rune{r}, line[min(column+1, len(line)):]...)...)
			column++
			text = text[size:]
			continue
		}
		text = text[1:]
	}
	return append(lines, string(line))
}

// Drawn are the texts that stood, one after the other, on lines that were drawn again. Each must
// have fitted the terminal: one that wraps cannot be taken off again.
func (p *Program) Drawn() []string {
	p.t.Helper()
	var drawn []string
	for _, part := range strings.Split(p.Seen(), "\r\x1b[K") {
		if strings.Contains(part, "\n") {
			part = part[strings.LastIndexByte(part, '\n')+1:]
		}
		if part == "" {
			continue
		}
		if n := utf8.RuneCountInString(part); n >= p.columns {
			p.t.Errorf("%d characters on a terminal of %d: %q", n, p.columns, part)
		}
		drawn = append(drawn, part)
	}
	return drawn
}
