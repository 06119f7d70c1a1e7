package leakage_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"cloakroom/dataset/leakage"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestFigures(t *testing.T) {
	// Six tokens: 8 rows, 4, 2 and 2, 0 (only known), and one of 0 known.
	h := leakage.Histogram{{8, 5, 1}, {4, 9, 1}, {2, 1, 2}, {0, 3, 1}}
	f := h.Figures()
	want := leakage.Figures{Rows: 16, Tokens: 4, TopRows: 8, MinEntropy: 1, UniqueTokens: 2, UniqueRows: 12}
	if f != want {
		t.Errorf("%+v, want %+v", f, want)
	}
	if f := (leakage.Histogram{}).Figures(); f != (leakage.Figures{}) {
		t.Errorf("of nothing: %+v", f)
	}
}

// By hand: what rank matching gets right.
func TestRankMatching(t *testing.T) {
	for name, test := range map[string]struct {
		h    leakage.Histogram
		want float64 // rows
	}{
		"nothing":               {nil, 0},
		"same order":            {leakage.Histogram{{8, 80, 1}, {4, 40, 1}, {2, 20, 1}}, 14},
		"two swapped":           {leakage.Histogram{{8, 40, 1}, {4, 80, 1}, {2, 20, 1}}, 2},
		"one of 1000, uniform":  {leakage.Histogram{{10, 7, 1000}}, 10},         // 10,000 rows, each right with 1/1000
		"ties on one side":      {leakage.Histogram{{5, 30, 1}, {5, 20, 1}}, 5}, // each at its rank with 1/2
		"three tied, known not": {leakage.Histogram{{5, 3, 1}, {5, 2, 1}, {5, 1, 1}}, 5},
		// Tokens at ranks 0–2, known 1–2 tied behind one that is not there now: ranks in common 2 of 3·2.
		"ties that overlap":  {leakage.Histogram{{6, 4, 2}, {6, 0, 1}, {0, 9, 1}}, 2 * 6 * 2.0 / 6},
		"all unknown":        {leakage.Histogram{{6, 0, 3}, {0, 9, 3}}, 0},
		"a new top of one":   {leakage.Histogram{{100, 0, 1}, {8, 9, 1}, {4, 3, 1}}, 0},
		"an old top is gone": {leakage.Histogram{{0, 100, 1}, {8, 9, 1}, {4, 3, 1}}, 0},
	} {
		near(t, name, leakage.RankMatching(test.h), test.want, 1e-9)
	}
}

// simulate sorts both lists with ties in random order, and counts rows whose value is right.
func simulate(random *rand.Rand, h leakage.Histogram) float64 {
	type token struct{ id, rows, known int64 }
	var all []token
	for _, c := range h {
		for range c.Tokens {
			all = append(all, token{int64(len(all)), c.Rows, c.Known})
		}
	}
	ranked := func(count func(token) int64) []token {
		list := slices.DeleteFunc(slices.Clone(all), func(t token) bool { return count(t) == 0 })
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		slices.SortStableFunc(list, func(a, b token) int { return int(count(b) - count(a)) })
		return list
	}
	tokens, values := ranked(func(t token) int64 { return t.rows }), ranked(func(t token) int64 { return t.known })
	var right int64
	for i := range min(len(tokens), len(values)) {
		if tokens[i].id == values[i].id {
			right += tokens[i].rows
		}
	}
	return float64(right)
}

// The expectation is what many random orders come to, whatever the histogram.
func TestExpectationIsTheMeanOfRuns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const histograms, runs = 40, 4000
	for range histograms {
		var h leakage.Histogram
		var rows int64
		seen := map[[2]int64]bool{}
		for range 1 + random.IntN(8) {
			c := leakage.Count{Rows: random.Int64N(5), Known: random.Int64N(5), Tokens: 1 + random.Int64N(4)}
			if pair := [2]int64{c.Rows, c.Known}; !seen[pair] && c.Rows+c.Known > 0 {
				seen[pair] = true
				h, rows = append(h, c), rows+c.Rows*c.Tokens
			}
		}
		var mean, squares float64
		for range runs {
			right := simulate(random, h)
			mean += right / runs
			squares += right * right / runs
		}
		// Five standard errors: one run in two million is further off.
		within := 5*math.Sqrt(max(0, squares-mean*mean)/runs) + 1e-9
		near(t, "expectation", leakage.RankMatching(h), mean, within)
	}
}

// zipf draws rows from a Zipf distribution of values, twice: the month, and what is known.
func zipf(random *rand.Rand, values, rows int, exponent float64) leakage.Histogram {
	sums := make([]float64, values)
	var all float64
	for i := range sums {
		all += math.Pow(float64(i+1), -exponent)
		sums[i] = all
	}
	counts := make([][2]int64, values)
	for i := range 2 * rows {
		at, _ := slices.BinarySearch(sums, random.Float64()*all)
		counts[at][i%2]++
	}
	var h leakage.Histogram
	for _, n := range counts {
		h = append(h, leakage.Count{Rows: n[0], Known: n[1], Tokens: 1})
	}
	return h
}

// What is uniform gives away little; a Zipf distribution much, and the more the steeper it is.
func TestShapes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	share := func(h leakage.Histogram) float64 { return leakage.Share(leakage.RankMatching(h), h.Figures().Rows) }
	flat := share(zipf(random, 20_000, 100_000, 0))
	mild, steep := share(zipf(random, 20_000, 100_000, 0.8)), share(zipf(random, 20_000, 100_000, 1.2))
	if flat > 0.001 || mild < 0.01 || steep < 0.3 || steep < 2*mild {
		t.Errorf("uniform %.4f, Zipf 0.8 %.4f, 1.2 %.4f", flat, mild, steep)
	}
	if few := share(zipf(random, 8, 100_000, 1)); few < 0.99 {
		t.Errorf("eight values of different counts: %.3f, want nearly all", few)
	}
}

func TestCells(t *testing.T) {
	var c leakage.Cells
	c.Add(leakage.Histogram{{6, 6, 1}, {2, 2, 1}})  // 8 rows, all right
	c.Add(leakage.Histogram{{3, 1, 1}, {1, 3, 1}})  // 4 rows, none
	c.Add(leakage.Histogram{{4, 10, 2}, {0, 1, 1}}) // 8 rows, half
	near(t, "labels seen", c.Labelled(), 8+0+4, 1e-9)
	// Labels by rank: 8 and 8 rows are tied at ranks 0 and 1; known are 21, 8, 4. The third cell is at its rank with 1/2,
	// the first, too.
	near(t, "labels guessed", c.Guessed(), 0.5*8+0.5*4, 1e-9)
}

// With one cell, the most likely assignment is rank matching.
func TestMultinomialOfOneCellIsRankMatching(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		var vectors []leakage.Vector
		var h leakage.Histogram
		for _, at := range random.Perm(40) {
			// Different counts, so that nothing depends on the order of ties.
			rows, known := int64(100+7*at), int64(100+7*random.IntN(40)*40+at)
			vectors = append(vectors, leakage.Vector{Rows: []int64{rows}, Known: []int64{known}})
			h = append(h, leakage.Count{Rows: rows, Known: known, Tokens: 1})
		}
		leakage.MarkHeads(vectors)
		near(t, "one cell", leakage.Multinomial(vectors), leakage.RankMatching(h), 1e-6)
	}
}

// Forty tokens as frequent as each other, each at home beside one of forty clear values: alone they give away 1/40,
// beside the clear values nearly all.
func TestMultinomialUsesWhatIsBeside(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	const n, rows = 40, 40_000
	correlated, independent := make([]leakage.Vector, n), make([]leakage.Vector, n)
	for i := range n {
		correlated[i] = leakage.Vector{Rows: make([]int64, n), Known: make([]int64, n)}
		independent[i] = leakage.Vector{Rows: make([]int64, n), Known: make([]int64, n)}
	}
	for i := range 2 * rows {
		token := random.IntN(n)
		home := token
		if random.IntN(2) == 0 {
			home = random.IntN(n)
		}
		other := random.IntN(n)
		if i%2 == 0 {
			correlated[token].Rows[home]++
			independent[token].Rows[other]++
		} else {
			correlated[token].Known[home]++
			independent[token].Known[other]++
		}
	}
	leakage.MarkHeads(correlated)
	leakage.MarkHeads(independent)
	if got := leakage.Multinomial(correlated) / rows; got < 0.99 {
		t.Errorf("correlated: %.3f of the rows, want nearly all", got)
	}
	if got := leakage.Multinomial(independent) / rows; got > 0.15 {
		t.Errorf("independent: %.3f of the rows, want about 1/40", got)
	}
}

// Equal tokens are guessed by chance, although tokens and values come in one order. 2,000 are more than are assigned.
func TestTiesAreNotGuessed(t *testing.T) {
	for _, n := range []int{50, 2000} {
		vectors := make([]leakage.Vector, n)
		for i := range vectors {
			vectors[i] = leakage.Vector{Rows: []int64{5}, Known: []int64{5}}
		}
		leakage.MarkHeads(vectors)
		if got := leakage.Multinomial(vectors); got > 5*5 {
			t.Errorf("%d equal tokens: %v rows right, want about 5 or less", n, got)
		}
	}
}

func TestPinned(t *testing.T) {
	pair := func(token string) leakage.Pair { return leakage.Pair{Token: token, Day: "2026-10-01"} }
	holders := map[leakage.Pair][]int64{
		pair("a"): {3, 1, 2, 1}, pair("b"): {2, 1}, pair("c"): {1, 5}, pair("d"): {9}, pair("e"): {4, 5},
	}
	users := []leakage.User{
		{ID: 1, Pairs: []leakage.Pair{pair("a"), pair("b"), pair("c")}}, // a and b: 1 and 2; with c: 1 alone
		{ID: 2, Pairs: []leakage.Pair{pair("a"), pair("b")}},            // never alone
		{ID: 9, Pairs: []leakage.Pair{pair("d")}},                       // has one pair, which is its own
		{ID: 5, Pairs: []leakage.Pair{pair("c"), pair("e")}},            // 5 alone
	}
	if got, want := leakage.Pinned(users, holders), (leakage.Unicity{Users: 4, By2: 2, By4: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
