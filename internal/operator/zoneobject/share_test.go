package zoneobject

import (
	"math/rand/v2"
	"testing"
)

func TestShare(t *testing.T) {
	for _, c := range []struct {
		name       string
		quota      int64
		has        []int64
		own        int64
		set, share uint32
	}{
		{"alone", 100, []int64{10}, 10, 0, 100},
		{"two", 106, []int64{3, 3}, 3, 0, 53},
		{"it has half of its room yet", 106, []int64{13, 3}, 13, 53, 53},
		{"little is left of its room", 106, []int64{43, 3}, 43, 53, 73},
		{"the other one took much", 106, []int64{3, 83}, 3, 53, 13},
		{"nothing is left", 6, []int64{3, 3}, 3, 53, 3},
		{"more than nothing", 4, []int64{3, 3}, 3, 53, 3},
		{"a quota of 0", 0, []int64{0}, 0, 0, 2},
	} {
		if got := Share(c.quota, c.has, c.own, c.set); got != c.share {
			t.Errorf("%s: %d, want %d", c.name, got, c.share)
		}
	}
}

// TestSharesHoldTheQuota: zones that grow and shrink as they may, looked at in any order, have limits that never sum up to more than the quota once all were
// looked at, and who wants to grow comes to all of it.
func TestSharesHoldTheQuota(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's dice
	const quota = 1000
	has, set := []int64{2, 2, 2, 2}, []uint32{0, 0, 0, 0}
	look := func() {
		seen := append([]int64(nil), has...) // one answer of a primary serves all
		for _, i := range r.Perm(len(has)) {
			set[i] = Share(quota, seen, seen[i], set[i])
		}
	}
	look()
	for step := range 5000 {
		i := r.IntN(len(has))
		has[i] = max(2, min(has[i]+int64(r.IntN(41)-20), max(int64(set[i]), has[i])))
		if r.IntN(4) == 0 {
			look()
			var sum int64
			for _, s := range set {
				sum += int64(s)
			}
			if sum > quota {
				t.Fatalf("seed %d, step %d: limits %v sum up to %d", seed, step, set, sum)
			}
		}
	}
	has = []int64{2, 2, 2, 2}
	look()
	for range 64 {
		has[0] = int64(set[0])
		look()
	}
	if has[0] < quota-6-8 {
		t.Errorf("seed %d: who grows alone came to %d", seed, has[0])
	}
}
