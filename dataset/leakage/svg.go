package leakage

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Sizes of the picture, in pixels.
const (
	panelWidth, panelHeight = 430.0, 310.0
	plotLeft, plotTop       = 62.0, 62.0
	plotWidth, plotHeight   = 340.0, 196.0
	headHeight, footHeight  = 64.0, 34.0
)

// style works in light and dark: a viewer that knows neither shows light.
const style = `
svg { background: #ffffff; font: 12px system-ui, sans-serif; }
text { fill: #1f2328; } .dim { fill: #59636e; } 
.head { font-size: 17px; font-weight: 600; } .name { font-size: 13px; font-weight: 600; }
.grid { stroke: #d1d9e0; stroke-width: 1; } .month { fill: none; stroke: #0969da; stroke-width: 2; }
.known { fill: none; stroke: #9a6700; stroke-width: 1.5; stroke-dasharray: 4 3; }
.bad { fill: #cf222e; } .good { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } text { fill: #f0f6fc; } .dim { fill: #9198a1; } .grid { stroke: #3d444d; }
.month { stroke: #4493f8; } .known { stroke: #d29922; } .bad { fill: #f85149; } .good { fill: #3fb950; }
}
`

// SVG draws, for each index, how often its tokens occur against their rank, both in powers of ten: a level line is
// safe, a slope can be told by rank. It refers to nothing outside.
func (r *Report) SVG(w io.Writer) error {
	columns := min(2, max(1, len(r.Indexes)))
	rows := (len(r.Indexes) + columns - 1) / columns
	p := &picture{}
	width, height := panelWidth*float64(columns)+20, headHeight+panelHeight*float64(rows)+footHeight
	width = max(width, panelWidth+190)
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%[1]g" height="%[2]g" role="img">`,
		width, height)
	title := "What the indexes of dataset " + r.Dataset + " give away"
	p.printf("<title>%s</title><style>%s</style>", escape(title), style)
	p.text(20, 28, "head", "", title)
	p.text(20, 48, "dim", "", strings.TrimPrefix(r.Month+" against "+r.Known, " "))
	for i := range r.Indexes {
		x, y := 10+panelWidth*float64(i%columns), headHeight+panelHeight*float64(i/columns)
		p.printf(`<g transform="translate(%g %g)">`, x, y)
		p.panel(&r.Indexes[i])
		p.printf("</g>")
	}
	y := height - 14
	p.printf(`<path class="month" d="M20 %g h26"/><path class="known" d="M180 %[1]g h26"/>`, y-4)
	p.text(52, y, "dim", "", "what is attacked")
	p.text(212, y, "dim", "", "what the attacker knows")
	p.text(380, y, "dim", "", "level: safe. Steep: told by rank.")
	p.printf("</svg>\n")
	_, err := io.WriteString(w, p.b.String())
	return err
}

type picture struct{ b strings.Builder }

func (p *picture) printf(format string, args ...any) { fmt.Fprintf(&p.b, format, args...) }

// text writes a text; anchor is start, middle, end or empty.
func (p *picture) text(x, y float64, class, anchor, text string) {
	p.printf(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, cmp.Or(anchor, "start"),
		escape(text))
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder does not fail
	return b.String()
}

func (p *picture) panel(ix *Index) {
	class := map[Verdict]string{OK: "good", TooMuch: "bad", Beside: "bad"}[ix.Verdict]
	p.text(plotLeft, 20, "name", "", ix.Member+" · "+ix.Index)
	p.text(plotLeft, 38, cmp.Or(class, "dim"), "",
		fmt.Sprintf("%s: %s of rows, %s with what is clear beside", ix.Verdict, Percent(ix.GivesAway),
			Percent(ix.WithClear)))
	month := ranked(ix.histogram, func(c Count) int64 { return c.Rows })
	known := ranked(ix.histogram, func(c Count) int64 { return c.Known })
	right, top := 1.0, 1.0
	for _, c := range slices.Concat(month, known) {
		right, top = max(right, math.Ceil(c.x)), max(top, math.Ceil(c.y))
	}
	at := func(pt point) (x, y float64) {
		return plotLeft + plotWidth*pt.x/right, plotTop + plotHeight*(1-pt.y/top)
	}
	for power := 0.0; power <= right; power++ {
		x, _ := at(point{power, 0})
		p.printf(`<path class="grid" d="M%.1f %g v%g"/>`, x, plotTop, plotHeight)
		p.text(x, plotTop+plotHeight+16, "dim", "middle", short(power))
	}
	for power := 0.0; power <= top; power++ {
		_, y := at(point{0, power})
		p.printf(`<path class="grid" d="M%g %.1f h%g"/>`, plotLeft, y, plotWidth)
		p.text(plotLeft-8, y+4, "dim", "end", short(power))
	}
	p.text(plotLeft+plotWidth/2, plotTop+plotHeight+33, "dim", "middle", "rank of the token")
	p.printf(`<text class="dim" text-anchor="middle" transform="translate(14 %g) rotate(-90)">rows</text>`,
		plotTop+plotHeight/2)
	p.curve("known", known, at)
	p.curve("month", month, at)
}

// curve draws points, leaving out those that would fall on the one before.
func (p *picture) curve(class string, curve []point, at func(point) (x, y float64)) {
	if len(curve) == 0 {
		return
	}
	var lastX, lastY float64
	p.printf(`<path class="%s" d="`, class)
	for i, pt := range curve {
		x, y := at(pt)
		if i > 0 && i < len(curve)-1 && math.Abs(x-lastX)+math.Abs(y-lastY) < 0.7 {
			continue
		}
		p.printf("%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], x, y)
		lastX, lastY = x, y
	}
	p.printf(`"/>`)
}

// point is a place in the plot, in powers of ten.
type point struct{ x, y float64 }

// ranked is the curve of counts by rank: of each tie its first and its last rank.
func ranked(h Histogram, count func(Count) int64) []point {
	var out []point
	for n, t := range groups(h, count) {
		y := math.Log10(float64(n))
		out = append(out, point{math.Log10(float64(t.first + 1)), y}, point{math.Log10(float64(t.first + t.size)), y})
	}
	slices.SortFunc(out, func(a, b point) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(b.y, a.y)) })
	return out
}

// short is a power of ten: 1, 10, 100, 1k, 1M.
func short(power float64) string {
	n, unit := int(power), 0
	for ; n >= 3 && unit < 4; unit++ {
		n -= 3
	}
	return fmt.Sprintf("%.0f%s", math.Pow10(n), []string{"", "k", "M", "G", "T"}[unit])
}

// Percent is a share for people.
func Percent(share float64) string {
	switch p := 100 * share; {
	case p == 0:
		return "0 %"
	case p < 0.01:
		return "< 0.01 %"
	case p < 1:
		return fmt.Sprintf("%.2f %%", p)
	case p < 10 && p != math.Round(p):
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}
