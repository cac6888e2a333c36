package primary

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector works in proportion to how often the heap doubles. A primary with small zones lives in some 30 MiB
// and would collect dozens of times a second under load; with this much room it collects a few times. A primary with
// large zones keeps Go's default: its heap is its memory bill.
const (
	heapRoom      = 128 << 20 // octets that may be allocated between two collections, at least
	defaultGC     = 100       // Go's own percentage
	maxGC         = 1000
	collectorPace = 2 * time.Second
)

// tuneCollector adjusts the collector to the heap's size until ctx ends. An administrator's GOGC is left alone.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	t := time.NewTicker(collectorPace)
	defer t.Stop()
	current := defaultGC
	for {
		metrics.Read(sample)
		if want := gcPercent(sample[0].Value.Uint64()); want != current {
			debug.SetGCPercent(want)
			current = want
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// gcPercent is the growth in percent that leaves a live heap, in octets, room of heapRoom.
func gcPercent(live uint64) int {
	if live == 0 {
		return maxGC
	}
	return int(min(max(heapRoom*100/live, defaultGC), maxGC))
}
