//go:build !race

// The race detector makes sync.Pool forget at random, so allocations are counted
// without it.

package tsig_test

import (
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

func TestAllocations(t *testing.T) {
	k := key(t, "key.example.", tsig.HMACSHA256)
	keys := ring(t, k)
	msg := tsig.SignRequest(update(t, 1), k, testTime)
	q := new(tsig.Request)
	resp := make([]byte, 0, 512)
	n := testing.AllocsPerRun(1000, func() {
		if _, err := q.Verify(msg, keys, testTime); err != nil {
			t.Fatal(err)
		}
		q.Sign(append(resp[:0], msg[:12]...), testTime)
	})
	if n > 0.1 { // the pool may be emptied once by the collector
		t.Errorf("%v allocations a request", n)
	}
}
