package relay

import (
	"slices"
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
	maxDoubts = 1 << 16
	// doubtTime is as long as a signature can verify, twice the longest fudge: a message may be signed that much in the future.
	doubtTime = 10 * time.Minute
)

// newDoubts has room for that many of each kind.
func newDoubts(room int) *doubts {
	return &doubts{open: map[uint64]int{}, unanswered: make(memory, room), applied: make(memory, room)}
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

// memory keeps identities for doubtTime, in sets of a few: when a set is full its oldest goes. It never grows.
type memory []remembered

type remembered struct {
	identity uint64
	until    int64 // Unix time in ns
}

// setSize is how many identities share a set: enough that none goes much before its turn.
const setSize = 8

// set is where an identity is, or would be. Identities are hashes.
func (m memory) set(identity uint64) []remembered {
	i := identity % uint64(len(m)/setSize) * setSize
	return m[i : i+setSize]
}

func (m memory) add(now time.Time, identity uint64) {
	set := m.set(identity)
	place := &set[0]
	for i := range set {
		if set[i].identity == identity {
			place = &set[i]
			break
		}
		if set[i].until < place.until {
			place = &set[i]
		}
	}
	*place = remembered{identity, now.Add(doubtTime).UnixNano()}
}

func (m memory) has(now time.Time, identity uint64) bool {
	return slices.ContainsFunc(m.set(identity), func(r remembered) bool { return r.identity == identity && r.until > now.UnixNano() })
}

func (m memory) remove(identity uint64) {
	set := m.set(identity)
	for i := range set {
		if set[i].identity == identity {
			set[i] = remembered{}
		}
	}
}
