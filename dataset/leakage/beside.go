package leakage

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Cells adds up rank matching within each cell. A cell is what the row shows beside the token: a combination of clear
// values, what is revealed, or a coarser token of the same member.
//
// Cells whose label is in clear are known. Cells whose label is a token are guessed first, by their own ranks; where
// that guess is wrong, so is every guess within.
type Cells struct {
	clear float64 // rows right where labels are in clear
	cells []cell
}

type cell struct {
	rows, known int64
	right       float64 // of rows, if the label is right
}

// Add takes the histogram of one cell.
func (c *Cells) Add(h Histogram) {
	one := cell{right: RankMatching(h)}
	for _, n := range h {
		one.rows += n.Rows * n.Tokens
		one.known += n.Known * n.Tokens
	}
	c.clear += one.right
	c.cells = append(c.cells, one)
}

// Len is how many cells there are.
func (c *Cells) Len() int { return len(c.cells) }

// Labelled is the expected number of rows guessed right if each cell's label is seen.
func (c *Cells) Labelled() float64 { return c.clear }

// Guessed is the same if labels are tokens, too. The order of ties among the labels does not depend on that within a
// cell, so the chances multiply.
func (c *Cells) Guessed() float64 {
	var labels Histogram
	for _, one := range c.cells {
		labels = append(labels, Count{Rows: one.rows, Known: one.known, Tokens: 1})
	}
	tokens := groups(labels, func(c Count) int64 { return c.Rows })
	values := groups(labels, func(c Count) int64 { return c.Known })
	var rows float64
	for _, one := range c.cells {
		if one.rows > 0 && one.known > 0 {
			a, b := tokens[one.rows], values[one.known]
			rows += one.right * float64(a.overlap(b)) / float64(a.size) / float64(b.size)
		}
	}
	return rows
}

// Vector is one token's counts in each cell. All vectors of an index have the same cells, in one order.
type Vector struct {
	Rows, Known []int64
	// Token says that it is among the [Heads] most frequent of the month, Value that it is among those of what is
	// known. Of those with one count, random ones are: if both lists took the same, the guess would be too good.
	Token, Value bool
}

// Heads is how many tokens [Multinomial] assigns: its time grows with the third power. Their rows are what can be
// told at all: a token with few rows has few counts to be told by.
const Heads = 300

// MarkHeads sets Token and Value.
func MarkHeads(vectors []Vector) {
	random := rand.New(rand.NewPCG(15, 4))
	mark := func(counts func(*Vector) []int64, flag func(*Vector) *bool) {
		order := random.Perm(len(vectors))
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Compare(sum(counts(&vectors[b])), sum(counts(&vectors[a])))
		})
		for _, i := range order[:min(Heads, len(order))] {
			*flag(&vectors[i]) = sum(counts(&vectors[i])) > 0
		}
	}
	mark(func(v *Vector) []int64 { return v.Rows }, func(v *Vector) *bool { return &v.Token })
	mark(func(v *Vector) []int64 { return v.Known }, func(v *Vector) *bool { return &v.Value })
}

// tieRuns is how often ties are drawn again.
const tieRuns = 3

// Multinomial is the number of rows guessed right by the most likely assignment of the most frequent tokens to the most
// frequent values, given how each occurs beside clear columns: a mean over random orders of ties, of a fixed seed.
//
// Cells of (value, clear combination) that are known with the shares p have the counts n with a chance proportional to
// the product of p^n: the multinomial distribution. So the best assignment has the greatest sum of n·log p. With one
// cell that is rank matching.
func Multinomial(vectors []Vector) float64 {
	var tokens, values []int
	for i, v := range vectors {
		if v.Token {
			tokens = append(tokens, i)
		}
		if v.Value {
			values = append(values, i)
		}
	}
	// The solver wants as many of each: those with no counts at all go with what is left over.
	n := max(len(tokens), len(values))
	for len(tokens) < n {
		tokens = append(tokens, -1)
	}
	for len(values) < n {
		values = append(values, -1)
	}
	logs := make([][]float64, n)
	for j, v := range values {
		logs[j] = make([]float64, cells(vectors))
		for c := range logs[j] {
			var known int64
			if v >= 0 {
				known = vectors[v].Known[c]
			}
			// Half a row more (Krichevsky and Trofimov): what did not occur last month may occur in this.
			logs[j][c] = math.Log(float64(known) + 0.5)
		}
	}
	random := rand.New(rand.NewPCG(15, 5))
	var right float64
	for range tieRuns {
		// The solver prefers low numbers among equals, and a token's number would be its value's.
		random.Shuffle(n, func(i, j int) {
			values[i], values[j] = values[j], values[i]
			logs[i], logs[j] = logs[j], logs[i]
		})
		costs := make([][]float64, n)
		for i, t := range tokens {
			costs[i] = make([]float64, n)
			if t < 0 {
				continue
			}
			for j := range values {
				for c, rows := range vectors[t].Rows {
					if rows > 0 {
						costs[i][j] -= float64(rows) * logs[j][c]
					}
				}
			}
		}
		for i, j := range assign(costs) {
			if tokens[i] >= 0 && tokens[i] == values[j] {
				right += float64(sum(vectors[tokens[i]].Rows))
			}
		}
	}
	return right / tieRuns
}

func cells(vectors []Vector) int {
	if len(vectors) == 0 {
		return 0
	}
	return len(vectors[0].Rows)
}

func sum(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// assign gives each row the column that makes the sum of costs least (Kuhn, 1955; by shortest augmenting paths, in
// time n³). costs is square.
func assign(costs [][]float64) []int {
	n := len(costs)
	rowPrice, columnPrice := make([]float64, n+1), make([]float64, n+1)
	owner := make([]int, n+1) // row of each column, both from 1; 0: none. Column 0 holds the row that is placed.
	for i := 1; i <= n; i++ {
		owner[0] = i
		column := 0
		least, from, seen := make([]float64, n+1), make([]int, n+1), make([]bool, n+1)
		for j := range least {
			least[j] = math.Inf(1)
		}
		for owner[column] != 0 {
			seen[column] = true
			row, next, step := owner[column], 0, math.Inf(1)
			for j := 1; j <= n; j++ {
				if seen[j] {
					continue
				}
				if c := costs[row-1][j-1] - rowPrice[row] - columnPrice[j]; c < least[j] {
					least[j], from[j] = c, column
				}
				if least[j] < step {
					step, next = least[j], j
				}
			}
			for j := range seen {
				if seen[j] {
					rowPrice[owner[j]] += step
					columnPrice[j] -= step
				} else {
					least[j] -= step
				}
			}
			column = next
		}
		for column != 0 { // back along the path, each column to the row before
			owner[column] = owner[from[column]]
			column = from[column]
		}
	}
	out := make([]int, n)
	for j := 1; j <= n; j++ {
		out[owner[j]-1] = j - 1
	}
	return out
}
