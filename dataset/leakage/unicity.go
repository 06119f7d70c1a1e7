package leakage

import (
	"cmp"
	"slices"
)

// Users is how many subjects are drawn for unicity.
const Users = 2000

// Pair is what an observer may know of a person: one of its tokens, and a day on which it occurred.
type Pair struct {
	Token string
	Day   string // YYYY-MM-DD
}

// User is a subject that was drawn, and up to four of its pairs in the order in which they were drawn.
type User struct {
	ID    int64
	Pairs []Pair
}

// Unicity says how many of the subjects drawn are the only ones who have the pairs drawn of them: two, or four, or all
// if there are fewer (de Montjoye, Hidalgo, Verleysen and Blondel, 2013).
type Unicity struct {
	Users int `json:"users"`
	By2   int `json:"pinned_by_2"`
	By4   int `json:"pinned_by_4"`
}

// Pinned reckons it. holders are the ids of all subjects who have a pair, for each pair of a user.
func Pinned(users []User, holders map[Pair][]int64) Unicity {
	for _, ids := range holders {
		slices.Sort(ids)
	}
	u := Unicity{Users: len(users)}
	for _, user := range users {
		if alone(user.Pairs[:min(2, len(user.Pairs))], holders) {
			u.By2++
		}
		if alone(user.Pairs, holders) {
			u.By4++
		}
	}
	return u
}

// alone reports whether exactly one subject has all pairs.
func alone(pairs []Pair, holders map[Pair][]int64) bool {
	if len(pairs) == 0 {
		return false
	}
	lists := make([][]int64, len(pairs))
	for i, p := range pairs {
		lists[i] = holders[p]
	}
	slices.SortFunc(lists, func(a, b []int64) int { return cmp.Compare(len(a), len(b)) })
	found := 0
	for i, id := range lists[0] {
		if i > 0 && lists[0][i-1] == id {
			continue
		}
		all := true
		for _, others := range lists[1:] {
			if _, ok := slices.BinarySearch(others, id); !ok {
				all = false
				break
			}
		}
		if all {
			if found++; found > 1 {
				return false
			}
		}
	}
	return found == 1
}
