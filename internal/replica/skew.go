package replica

import (
	"slices"
	"time"
)

// MaxClockSkew is how far a replica's clock may be from the median of the cluster's before it leaves service (C7): one
// fast clock would move log time forward for all, and expire the dedupe table early.
const MaxClockSkew = 2 * time.Second

// Skew gives this replica's distance from the median clock of the cluster, itself included. offsets are the peers' clocks
// minus ours. With no peers there is nothing to compare: zero.
func Skew(offsets []time.Duration) time.Duration {
	if len(offsets) == 0 {
		return 0
	}
	all := append([]time.Duration{0}, offsets...)
	slices.Sort(all)
	mid := len(all) / 2
	median := all[mid]
	if len(all)%2 == 0 {
		// Two clocks can't outvote each other; the middle of both condemns neither before they are 4 s apart.
		median = (all[mid-1] + all[mid]) / 2
	}
	return -median
}
