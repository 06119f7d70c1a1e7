package main

import (
	"fmt"
	"io"
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

// step begins a numbered step: its number and name, and its first line.
func (p *printer) step(n int, name, format string, args ...any) {
	p.line(p.paint(bold, fmt.Sprintf("%d %-10s", n, name))+" "+format, args...)
}

// more goes on with a step.
func (p *printer) more(who, format string, args ...any) {
	p.line(p.paint(dim, fmt.Sprintf("  %-10s", who))+" "+format, args...)
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
