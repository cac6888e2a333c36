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

// stream is a steady load of closed-loop clients through the relay, which notes when each write was asked for and
// acknowledged.
type stream struct {
	origin zone.Name
	wg     sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	acked   []write     // in the order of their ends
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
				label := fmt.Sprintf("f%d-%d-%d", run, i, n)
				rcode, err := cl.Update(s.origin, nil, []zone.RR{harness.A(s.origin, label, 60, [4]byte{192, 0, 2, 1})})
				s.end(i, label, rcode, err)
			}
		})
	}
	return s
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

func (s *stream) end(client int, label string, rcode uint16, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := write{s.open[client], time.Now()}
	s.open[client] = time.Time{}
	if err != nil || rcode != 0 {
		s.failed = append(s.failed, fmt.Sprintf("%s: rcode %d, %v, after %v", label, rcode, err, w.ended.Sub(w.began)))
		return
	}
	s.acked = append(s.acked, w)
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
