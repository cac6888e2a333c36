package relay

import (
	"sync"
	"time"
)

// doubts knows the UPDATEs that were applied, or that a primary may have appended although nobody has heard so. Whoever sends
// such a request, again or at the same time, must not be told by another primary, or by the front, that it was not applied
// (D6): a primary has one outcome for the copies that reach it (package endpoint), but copies at two of them meet in the log
// only (I4).
//
// An UPDATE is known by its identity; see [exchange.identify]. doubts is safe for concurrent use: a client may send its copies
// from several ports, to several workers.
type doubts struct {
	mu sync.Mutex
	// open counts what requests under way have asked and no primary has refused.
	open map[uint64]int
	// Those that ended so. Each has its own room, so that many of the second kind don't push out the first.
	unanswered, applied memory
}

// ending is how a request for an update ends.
type ending uint8

const (
	endUnanswered ending = iota
	endApplied
	endDecided // otherwise
)

const (
	maxDoubts = 1 << 15 // of one generation
	// doubtTime is as long as a signature can verify, twice the longest fudge: a message may be signed that much in the future.
	doubtTime = 10 * time.Minute
)

func newDoubts() *doubts {
	return &doubts{open: map[uint64]int{}, unanswered: newMemory(), applied: newMemory()}
}

// asked is told that a primary gets the update.
func (d *doubts) asked(identity uint64) {
	d.mu.Lock()
	d.open[identity]++
	d.mu.Unlock()
}

// refused is told that a primary has said SERVFAIL, or that the update never left.
func (d *doubts) refused(identity uint64) {
	d.mu.Lock()
	d.close(identity, 1)
	d.mu.Unlock()
}

// ended is told that a request is done with, of which that many primaries have not refused.
func (d *doubts) ended(now time.Time, identity uint64, primaries int, how ending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.close(identity, primaries)
	switch {
	case how == endApplied:
		d.applied.add(now, identity)
	case how == endUnanswered && primaries > 0:
		d.unanswered.add(now, identity)
	case how == endDecided && d.open[identity] == 0:
		d.unanswered.remove(identity)
	}
}

func (d *doubts) close(identity uint64, n int) {
	if d.open[identity] -= n; d.open[identity] <= 0 {
		delete(d.open, identity)
	}
}

// has reports whether the update was applied, or may have been.
func (d *doubts) has(now time.Time, identity uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[identity] > 0 || d.unanswered.has(now, identity) || d.applied.has(now, identity)
}

// memory keeps identities for doubtTime and at most twice that, in two generations. When one has maxDoubts the older one goes.
type memory struct {
	young, old map[uint64]struct{}
	since      time.Time // when young began
}

func newMemory() memory {
	return memory{young: map[uint64]struct{}{}, old: map[uint64]struct{}{}}
}

// turn lets generations go whose time has passed.
func (m *memory) turn(now time.Time) {
	switch age := now.Sub(m.since); {
	case age >= 2*doubtTime:
		clear(m.old)
		clear(m.young)
	case age >= doubtTime || len(m.young) >= maxDoubts:
		clear(m.old)
		m.young, m.old = m.old, m.young
	default:
		return
	}
	m.since = now
}

func (m *memory) add(now time.Time, identity uint64) {
	m.turn(now)
	m.young[identity] = struct{}{}
}

func (m *memory) has(now time.Time, identity uint64) bool {
	m.turn(now)
	_, young := m.young[identity]
	_, old := m.old[identity]
	return young || old
}

func (m *memory) remove(identity uint64) {
	delete(m.young, identity)
	delete(m.old, identity)
}
