package dataset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a definition, or one thing its author should think about.
type Problem struct {
	// Line and Column count from 1, columns in characters. They are 0 where the text has no lines, as canonical JSON.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Code is stable: scripts may rely on it.
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to write instead, or why
	// Warning says that the definition can be used as it is.
	Warning bool `json:"warning,omitempty"`
}

func (p Problem) String() string {
	text := fmt.Sprintf("%d:%d: %s (%s)", p.Line, p.Column, p.Message, p.Code)
	if p.Warning {
		text = fmt.Sprintf("%d:%d: warning: %s (%s)", p.Line, p.Column, p.Message, p.Code)
	}
	if p.Hint != "" {
		text += ": " + p.Hint
	}
	return text
}

// Problems is the error of a definition that cannot be used.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return "parsing dataset: " + strings.Join(lines, "\n")
}

// Errors are the problems that are not warnings.
func (p Problems) Errors() Problems {
	var out Problems
	for _, problem := range p {
		if !problem.Warning {
			out = append(out, problem)
		}
	}
	return out
}

// sort brings problems into the order of the text.
func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// place is a position in the text.
type place struct{ line, column int }

// places knows where each key of a definition stands: "members[2].protect.pad".
type places map[string]place

// of is the place of a key or, where it is not written, of the nearest thing around it.
func (p places) of(path string) place {
	for {
		if at, ok := p[path]; ok || path == "" {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// report collects problems.
type report struct {
	places   places
	problems Problems
	// blamed are places of what could not be read: a check would only blame the same key again.
	blamed map[place]bool
}

// wrong notes a mistake at a key's place.
func (r *report) wrong(path, code, hint, format string, args ...any) {
	at := r.places.of(path)
	if r.blamed[at] {
		return
	}
	r.problems = append(r.problems, Problem{
		Line: at.line, Column: at.column, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// warn notes something to think about at a key's place.
func (r *report) warn(path, code, hint, format string, args ...any) {
	before := len(r.problems)
	r.wrong(path, code, hint, format, args...)
	for i := range r.problems[before:] {
		r.problems[before+i].Warning = true
	}
}
