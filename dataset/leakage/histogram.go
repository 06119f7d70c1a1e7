// Package leakage reckons what equal tokens give away to somebody who sees them and has no key.
//
// Tokens are deterministic: how often one occurs is how often its value does. Who knows roughly how often each value
// occurs sorts both lists and lays one beside the other (Naveed, Kamara and Wright, 2015). Rank by rank is the most
// likely assignment (Lacharité and Paterson, 2018). Columns in clear beside the token make each count a list of
// counts, and the guess better (Bindschaedler, Grubbs, Cash, Ristenpart and Shmatikov, 2018).
//
// Everything here works on counts. No token and no value is needed to say how many rows a guess gets right: the tokens
// of two months are the same, so the month before serves as what is known, and as the truth. Which function to call:
// [Measure] for an index, [RankMatching] for the one figure that the gate holds to a limit, [Sample] for events in a
// file, [SVG] for the picture.
//
// The figures are of these attacks. They are no upper bound: who knows more than last month's counts learns more.
package leakage

import (
	"cmp"
	"math"
	"slices"
)

// Count says how many tokens have the same two counts.
type Count struct {
	Rows   int64 // of each token, in the month that is attacked; 0: it does not occur there
	Known  int64 // of each token, in what the attacker knows; 0: it does not know it
	Tokens int64 // how many tokens these are; more than 0
}

// Histogram is all that rank matching depends on: the pairs of counts that occur, each once, in any order.
type Histogram []Count

// Figures are what a histogram says by itself.
type Figures struct {
	Rows       int64   `json:"rows"`             // that have a token in the month
	Tokens     int64   `json:"distinct_tokens"`  // in the month
	TopRows    int64   `json:"top_rows"`         // of the most frequent token
	MinEntropy float64 `json:"min_entropy_bits"` // of a row's token: -log2(TopRows / Rows)
	// UniqueRows are in tokens whose count no other token has: with counts known exactly, the rank alone tells them.
	UniqueTokens int64 `json:"unique_count_tokens"`
	UniqueRows   int64 `json:"unique_count_rows"`
}

// Figures reckons them. Of an empty histogram, all are 0.
func (h Histogram) Figures() Figures {
	var f Figures
	for rows, tied := range groups(h, func(c Count) int64 { return c.Rows }) {
		f.Rows += rows * tied.size
		f.Tokens += tied.size
		f.TopRows = max(f.TopRows, rows)
		if tied.size == 1 {
			f.UniqueTokens++
			f.UniqueRows += rows
		}
	}
	if f.Rows > 0 {
		f.MinEntropy = math.Log2(float64(f.Rows) / float64(f.TopRows))
	}
	return f
}

// tie is the ranks that tokens with one count share: from first to before first+size.
type tie struct{ first, size int64 }

// overlap is how many ranks two ties have in common.
func (t tie) overlap(u tie) int64 {
	return max(0, min(t.first+t.size, u.first+u.size)-max(t.first, u.first))
}

// groups ranks tokens by a count, most frequent first. Tokens that have none are not ranked.
func groups(h Histogram, count func(Count) int64) map[int64]tie {
	ranked := map[int64]tie{}
	for _, c := range h {
		if n := count(c); n > 0 {
			ranked[n] = tie{size: ranked[n].size + c.Tokens}
		}
	}
	counts := make([]int64, 0, len(ranked))
	for n := range ranked {
		counts = append(counts, n)
	}
	slices.SortFunc(counts, func(a, b int64) int { return cmp.Compare(b, a) })
	var first int64
	for _, n := range counts {
		ranked[n] = tie{first, ranked[n].size}
		first += ranked[n].size
	}
	return ranked
}

// RankMatching is the expected number of rows whose value is guessed right if tokens and values are sorted by count,
// ties in random order, and laid beside each other.
//
// It is exact. A token is at each of the ranks of its tie with the same chance, and so is its value among the values,
// independently; so both are at one rank with the chance overlap / (size · size), whatever the other tokens do, and
// expectations add up.
func RankMatching(h Histogram) float64 {
	tokens := groups(h, func(c Count) int64 { return c.Rows })
	values := groups(h, func(c Count) int64 { return c.Known })
	var rows float64
	for _, c := range h {
		if c.Rows > 0 && c.Known > 0 {
			a, b := tokens[c.Rows], values[c.Known]
			rows += float64(c.Rows*c.Tokens) * float64(a.overlap(b)) / float64(a.size) / float64(b.size)
		}
	}
	return rows
}

// Share is a part of all, 0 where there is nothing.
func Share(part float64, all int64) float64 {
	if all == 0 {
		return 0
	}
	return part / float64(all)
}
