package primary

import (
	"sync/atomic"
	"time"
)

// clock is the time by which this primary verifies signatures and which it brings into the log: the machine's as it was when
// the peers last agreed with it, and from there on what has passed since. A step of the machine's clock thus has no say
// before it has been compared. Without that, the entries of the seconds until then would move log time ahead for
// everybody, and every update would be too late for as long as the step was large (C7).
type clock struct{ agreed atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.follow()
	return c
}

// Now is for any goroutine.
func (c *clock) Now() time.Time {
	at := *c.agreed.Load()
	return at.Add(time.Since(at)) // by the monotonic clock, which knows no steps
}

// follow takes the machine's clock as right.
func (c *clock) follow() {
	now := time.Now()
	c.agreed.Store(&now)
}
