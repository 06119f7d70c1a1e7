package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

// report collects what was measured, as lines of tables. A figure that misses its target stands there as it is.
type report struct {
	sections []*section
	notes    []string
	progress io.Writer // told of each section as it is done; may be nil
}

type section struct {
	title, how string
	lines      [][4]string // what, figure, target, whether it was met
}

// target is what a figure was promised to be.
type target struct {
	text string
	met  func(float64) bool
}

func atLeast(v float64) target {
	return target{fmt.Sprintf("≥ %g", v), func(x float64) bool { return x >= v }}
}

func atMost(v float64) target {
	return target{fmt.Sprintf("≤ %g", v), func(x float64) bool { return x <= v }}
}

func (r *report) section(title, how string) {
	r.sections = append(r.sections, &section{title: title, how: how})
	fmt.Fprintf(r.progress, "%s %s\n", time.Now().Format(time.TimeOnly), title)
}

func (r *report) note(text string) { r.notes = append(r.notes, text) }

func (r *report) line(what, figure, target, met string) {
	s := r.sections[len(r.sections)-1]
	s.lines = append(s.lines, [4]string{what, figure, target, met})
}

func (r *report) figure(what, text string, v float64, t target) {
	met := ""
	if t.met != nil {
		met = "no"
		if t.met(v) {
			met = "yes"
		}
	}
	r.line(what, text, t.text, met)
}

func (r *report) ratio(what string, v float64, t target) {
	r.figure(what, fmt.Sprintf("%.2f", v), v, t)
}
func (r *report) number(what string, v float64, t target) {
	r.figure(what, fmt.Sprintf("%.2f", v), v, t)
}
func (r *report) micros(what string, v float64, t target) {
	r.figure(what, fmt.Sprintf("%.2f µs", v), v, t)
}

// rates lists the median rates of contenders.
func (r *report) rates(s series, names ...string) {
	for _, name := range names {
		r.line(name, perSecond(s.rate(name)), "", "")
	}
}

func perSecond(rate float64) string { return thousands(int(rate)) + "/s" }

func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// markdown writes the report as tables.
func (r *report) markdown(out io.Writer) {
	fmt.Fprintf(
		out,
		"Measured on %s by %d cores of %s, %s, %s. Rates depend on the machine; the ratios are of one run, contenders\ntaking turns, medians.\n",
		time.Now().
			UTC().
			Format(time.DateOnly),
		runtime.NumCPU(),
		processor(),
		runtime.GOOS+"/"+runtime.GOARCH,
		runtime.Version(),
	)
	for _, s := range r.sections {
		fmt.Fprintf(out, "\n### %s\n\n%s.\n\n| | figure | target | met |\n|---|---:|---|---|\n", s.title,
			strings.ToUpper(s.how[:1])+s.how[1:])
		for _, l := range s.lines {
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", strings.ReplaceAll(l[0], `\`, `\\`), l[1], l[2], l[3])
		}
	}
	for _, n := range r.notes {
		fmt.Fprintf(out, "\n%s\n", n)
	}
}

// processor is the CPU's name, where the system says.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "a CPU"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "a CPU"
}

// json writes the figures, rounded to three digits behind the point, on one line.
func (f figures) json(out io.Writer) error {
	for _, v := range []*float64{
		&f.IngestVsInsert, &f.IngestVsCopy, &f.CPUPerEvent, &f.ProtectPerEvent, &f.SQSVsBare, &f.SQSCPUVsBare, &f.RowsGrownVsEmpty, &f.HotVsUniform,
	} {
		*v = math.Round(*v*1000) / 1000
	}
	return json.NewEncoder(out).Encode(f)
}

// The generated part of the page stands between these lines; the rest of it is written by hand.
const (
	beginMark = "<!-- figures: make bench writes them -->\n"
	endMark   = "<!-- end of figures -->\n"
)

// writeTo replaces the generated part of a page.
func (r *report) writeTo(path, beginMark, endMark string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, found := strings.Cut(string(text), beginMark)
	_, tail, closed := strings.Cut(rest, endMark)
	if !found || !closed {
		return fmt.Errorf("writing %s: it has not the lines between which the figures stand", path)
	}
	var figures strings.Builder
	r.markdown(&figures)
	return os.WriteFile(path, []byte(head+beginMark+"\n"+figures.String()+"\n"+endMark+tail), 0o644)
}
