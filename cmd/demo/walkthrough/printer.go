package main

import (
	"fmt"
	"io"
	"strings"
)

// printer writes the walk-through, or nothing where only JSON is wanted.
type printer struct {
	out    io.Writer
	quiet  bool
	colour bool // on a terminal only
}

const (
	bold  = "1"
	dim   = "2"
	green = "32"
	red   = "31"
)

func (p *printer) paint(style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// step begins a numbered step: what happens, and what the words in it mean.
func (p *printer) step(n int, text string) {
	p.line("%s", p.paint(bold, fmt.Sprint(n, " ", text)))
}

// note adds to what a step says.
func (p *printer) note(text string) { p.line("  %s", text) }

// command is what somebody types.
func (p *printer) command(who, text string) { p.line("  %s %s", p.paint(dim, who+"$"), text) }

// block is what came of it, as it was printed.
func (p *printer) block(text string) {
	for line := range strings.Lines(text) {
		p.line("      %s", strings.TrimRight(line, "\n"))
	}
}

func (p *printer) line(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

func (p *printer) fail(problems []string) {
	for _, problem := range problems {
		p.line("%s %s", p.paint(red, "✗"), problem)
	}
}
