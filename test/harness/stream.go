package harness

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Stream is a steady load of closed-loop clients, which notes when each write was asked for and acknowledged. It is safe for
// concurrent use.
type Stream struct {
	wg sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	acked   []write     // in the order of their ends
	open    []time.Time // of each client, when its unanswered request began; zero: none
	failed  []string    // answers other than NOERROR, and silence
}

// write is one acknowledged request.
type write struct{ began, ended time.Time }

// Go adds a client: it makes its write number n, which returns when it is acknowledged, and after a pause the next, until the
// stream is stopped. An error is a failed write; the client goes on.
func (s *Stream) Go(pause time.Duration, write func(n int) error) {
	s.mu.Lock()
	client := len(s.open)
	s.open = append(s.open, time.Time{})
	s.mu.Unlock()
	s.wg.Go(func() {
		for n := 0; s.begin(client); n++ {
			s.end(client, write(n))
			if pause > 0 {
				<-time.After(pause)
			}
		}
	})
}

// begin notes that a client asks, unless the stream was stopped.
func (s *Stream) begin(client int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.open[client] = time.Now()
	return true
}

// end notes the answer to a client.
func (s *Stream) end(client int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := write{s.open[client], time.Now()}
	s.open[client] = time.Time{}
	if err != nil {
		s.failed = append(s.failed, fmt.Sprintf("%v, after %v", err, w.ended.Sub(w.began)))
		return
	}
	s.acked = append(s.acked, w)
}

// Count is the number of acknowledged writes so far.
func (s *Stream) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// Waiting is how many clients still wait for an answer to what they asked before a moment.
func (s *Stream) Waiting(moment time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, began := range s.open {
		if !began.IsZero() && began.Before(moment) {
			n++
		}
	}
	return n
}

// Outage is what clients saw between a moment and another.
type Outage struct {
	Gap     time.Duration // the longest time in which no client had a write acknowledged
	Longest time.Duration // the longest that one client waited for one answer, repeats included
}

// Since tells of the time from a moment until now.
func (s *Stream) Since(moment time.Time) Outage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var o Outage
	last := moment
	for _, w := range s.acked {
		if w.ended.After(last) {
			o.Gap = max(o.Gap, w.ended.Sub(last))
			o.Longest = max(o.Longest, w.ended.Sub(w.began))
			last = w.ended
		}
	}
	now := time.Now()
	o.Gap = max(o.Gap, now.Sub(last))
	for _, began := range s.open {
		if !began.IsZero() {
			o.Longest = max(o.Longest, now.Sub(began))
		}
	}
	return o
}

// Stop ends the clients and returns the failures.
func (s *Stream) Stop() []string {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.wg.Wait()
	return s.failed
}

// Failed gives the failures so far.
func (s *Stream) Failed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.failed)
}

// Outages is a list of measured ones.
type Outages []Outage

// Gaps sorts the gaps.
func (l Outages) Gaps() Spread { return l.sorted(func(o Outage) time.Duration { return o.Gap }) }

// Longest sorts what one client waited for one answer.
func (l Outages) Longest() Spread { return l.sorted(func(o Outage) time.Duration { return o.Longest }) }

func (l Outages) sorted(of func(Outage) time.Duration) Spread {
	var out Spread
	for _, o := range l {
		out = append(out, of(o))
	}
	slices.Sort(out)
	return out
}

func (l Outages) String() string {
	return fmt.Sprintf("n=%-3d gap %v, longest request %v", len(l), l.Gaps(), l.Longest())
}

// Spread is a sorted list of durations.
type Spread []time.Duration

// P50 is the median.
func (s Spread) P50() time.Duration { return s[len(s)/2] }

// Max is the longest.
func (s Spread) Max() time.Duration { return s[len(s)-1] }

func (s Spread) String() string {
	if len(s) == 0 {
		return "not measured"
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%4d", d.Milliseconds()) }
	return fmt.Sprintf("p50 %s p90 %s max %s ms", ms(s.P50()), ms(s[len(s)*9/10]), ms(s.Max()))
}
