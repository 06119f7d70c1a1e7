package awswire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecentForgetsTheOldest(t *testing.T) {
	r := NewRecent[int](3)
	for i := range 5 {
		r.Add(i)
	}
	if d := cmp.Diff([]int{2, 3, 4}, r.All()); d != "" {
		t.Error(d)
	}
	none := NewRecent[int](-1)
	none.Add(1)
	if got := none.All(); len(got) != 0 {
		t.Errorf("got %v, want nothing remembered", got)
	}
}
