package failover

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// keep is how many records a client leaves in the zone: for each one more, an update removes its oldest, so that the last
// fault of a long measurement meets the same zone as the first.
const keep = 1000

// stream is a steady load of closed-loop clients through the relay, which notes when each write was asked for and
// acknowledged.
type stream struct {
	origin zone.Name
	wg     sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	acked   []write     // in the order of their ends
	records int         // which the zone must have of it now
	open    []time.Time // of each client, when its unanswered request began; zero: none
	failed  []string    // answers other than NOERROR, and silence
}

// write is one acknowledged request.
type write struct{ began, ended time.Time }

// start runs clients that each add one record after another. Each sends its octets again every repeat until it is answered.
func start(t testing.TB, c *harness.Cluster, clients int, repeat time.Duration) *stream {
	s := &stream{origin: zone.MustParseName(c.Info().Zones[0] + "."), open: make([]time.Time, clients)}
	run := time.Now().UnixNano()
	for i := range clients {
		cl := harness.Dial(t, c.Info().Endpoint, c.Key())
		cl.Repeat = repeat
		s.wg.Go(func() {
			for n := 0; s.begin(i); n++ {
				change := []zone.RR{s.record(run, i, n)}
				if n >= keep {
					old := s.record(run, i, n-keep)
					old.Class, old.TTL = zone.ClassNONE, 0
					change = append(change, old)
				}
				rcode, err := cl.Update(s.origin, nil, change)
				s.end(i, change, rcode, err)
			}
		})
	}
	return s
}

// record is the n-th of a client. No two clients, nor two streams, change the same name.
func (s *stream) record(run int64, client, n int) zone.RR {
	return harness.A(s.origin, fmt.Sprintf("f%d-%d-%d", run, client, n), 60, [4]byte{192, 0, 2, 1})
}

// begin notes that a client asks, unless the stream was stopped.
func (s *stream) begin(client int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.open[client] = time.Now()
	return true
}

// end notes the answer to a client.
func (s *stream) end(client int, change []zone.RR, rcode uint16, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := write{s.open[client], time.Now()}
	s.open[client] = time.Time{}
	if err != nil || rcode != 0 {
		s.failed = append(s.failed, fmt.Sprintf("%v: rcode %d, %v, after %v", change, rcode, err, w.ended.Sub(w.began)))
		return
	}
	s.acked = append(s.acked, w)
	s.records += 2 - len(change)
}

// count is the number of acknowledged writes so far.
func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// waiting is how many clients still wait for an answer to what they asked before a moment.
func (s *stream) waiting(moment time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, began := range s.open {
		if !began.IsZero() && began.Before(moment) {
			n++
		}
	}
	return n
}

// outage is what clients saw between a moment and now.
type outage struct {
	gap     time.Duration // the longest time in which no client had a write acknowledged
	longest time.Duration // the longest that one client waited for one answer, repeats included
}

func (s *stream) since(moment time.Time) outage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var o outage
	last := moment
	for _, w := range s.acked {
		if w.ended.After(last) {
			o.gap = max(o.gap, w.ended.Sub(last))
			o.longest = max(o.longest, w.ended.Sub(w.began))
			last = w.ended
		}
	}
	now := time.Now()
	o.gap = max(o.gap, now.Sub(last))
	for _, began := range s.open {
		if !began.IsZero() {
			o.longest = max(o.longest, now.Sub(began))
		}
	}
	return o
}

// stop ends the clients and returns the failures.
func (s *stream) stop() []string {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.wg.Wait()
	return s.failed
}

// outages is a list of measured ones.
type outages []outage

func (l outages) gaps() spread    { return l.sorted(func(o outage) time.Duration { return o.gap }) }
func (l outages) longest() spread { return l.sorted(func(o outage) time.Duration { return o.longest }) }

func (l outages) sorted(of func(outage) time.Duration) spread {
	var out spread
	for _, o := range l {
		out = append(out, of(o))
	}
	slices.Sort(out)
	return out
}

func (l outages) String() string {
	return fmt.Sprintf("n=%-3d gap %v, longest request %v", len(l), l.gaps(), l.longest())
}

// spread is a sorted list of durations.
type spread []time.Duration

func (s spread) p50() time.Duration { return s[len(s)/2] }
func (s spread) max() time.Duration { return s[len(s)-1] }

func (s spread) String() string {
	if len(s) == 0 {
		return "not measured"
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%4d", d.Milliseconds()) }
	return fmt.Sprintf("p50 %s p90 %s max %s ms", ms(s.p50()), ms(s[len(s)*9/10]), ms(s.max()))
}
