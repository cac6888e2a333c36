// Package failover measures what clients see of a primary's death: the gap in acknowledged writes.
package failover

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// stream is a steady load of closed-loop clients through the relay, which notes when each write was acknowledged.
type stream struct {
	t      testing.TB
	origin zone.Name
	stop   atomic.Bool
	wg     sync.WaitGroup

	mu     sync.Mutex
	acked  []time.Time
	names  []string // of the records acknowledged
	failed []string // answers other than NOERROR, and silence
}

// start runs clients that each add one record after another. Each sends its octets again every repeat until it is answered.
func start(t testing.TB, c *harness.Cluster, clients int, repeat time.Duration) *stream {
	s := &stream{t: t, origin: zone.MustParseName(c.Info().Zones[0] + ".")}
	run := time.Now().UnixNano()
	for i := range clients {
		cl := harness.Dial(t, c.Info().Endpoint, c.Key())
		cl.Repeat = repeat
		s.wg.Go(func() {
			for n := 0; !s.stop.Load(); n++ {
				label := fmt.Sprintf("f%d-%d-%d", run, i, n)
				rcode, err := cl.Update(s.origin, nil, []zone.RR{harness.A(s.origin, label, 60, [4]byte{192, 0, 2, 1})})
				s.note(label, rcode, err)
			}
		})
	}
	return s
}

func (s *stream) note(label string, rcode uint16, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || rcode != 0 {
		s.failed = append(s.failed, fmt.Sprintf("%s: rcode %d, %v", label, rcode, err))
		return
	}
	s.acked = append(s.acked, time.Now())
	s.names = append(s.names, label)
}

// count is the number of acknowledged writes so far.
func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// gapAfter is the longest time without an acknowledged write between a moment and now.
func (s *stream) gapAfter(moment time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, gap := moment, time.Duration(0)
	for _, at := range s.acked {
		if at.After(last) {
			gap = max(gap, at.Sub(last))
			last = at
		}
	}
	return max(gap, time.Since(last))
}

// end stops the clients and returns the failures.
func (s *stream) end() []string {
	s.stop.Store(true)
	s.wg.Wait()
	return s.failed
}

// gaps is a list of measured gaps.
type gaps []time.Duration

func (g gaps) String() string {
	if len(g) == 0 {
		return "nothing measured"
	}
	s := slices.Sorted(slices.Values(g))
	return fmt.Sprintf("n=%d p50=%v p90=%v max=%v", len(s), s[len(s)/2].Round(time.Millisecond),
		s[len(s)*9/10].Round(time.Millisecond), s[len(s)-1].Round(time.Millisecond))
}
