package relay

import (
	"hash/maphash"
	"net/netip"
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
	seed                maphash.Seed // of owners
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
	return &doubts{open: map[uint64]int{}, unanswered: make(memory, room), applied: make(memory, room), seed: maphash.MakeSeed()}
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

// ended is told that a request of a client is done with, of which that many primaries have not refused.
func (d *doubts) ended(now time.Time, identity uint64, client netip.Addr, primaries int, how ending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.close(identity, primaries)
	switch {
	case how == endApplied:
		d.applied.add(now, identity, d.owner(client))
	case how == endUnanswered && primaries > 0:
		d.unanswered.add(now, identity, d.owner(client))
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

// owner is who has to make room for what a client adds; see [whose].
func (d *doubts) owner(client netip.Addr) uint32 {
	a := whose(client.Unmap()).As16()
	return uint32(maphash.Bytes(d.seed, a[:])) //nolint:gosec // a part of a hash
}

// memory keeps identities for doubtTime, in sets of a few. In a full set the client that has most there makes room, by its oldest: a
// flood of one client's updates pushes out its own, and nobody else's. It never grows.
type memory []remembered

type remembered struct {
	identity uint64
	until    int64  // Unix time in ns
	owner    uint32 // a hash of the client
}

// setSize is how many identities share a set: enough that none goes much before its turn.
const setSize = 8

// set is where an identity is, or would be. Identities are hashes.
func (m memory) set(identity uint64) []remembered {
	i := identity % uint64(len(m)/setSize) * setSize
	return m[i : i+setSize]
}

func (m memory) add(now time.Time, identity uint64, owner uint32) {
	set := m.set(identity)
	*place(set, now.UnixNano(), identity, owner) = remembered{identity, now.Add(doubtTime).UnixNano(), owner}
}

// place is where in a set an identity goes: where it is, where none is any more, else where one makes room.
func place(set []remembered, now int64, identity uint64, owner uint32) *remembered {
	oldest := &set[0]
	for i := range set {
		if set[i].identity == identity {
			return &set[i]
		}
		if set[i].until < oldest.until {
			oldest = &set[i]
		}
	}
	if oldest.until <= now {
		return oldest
	}
	has := func(who uint32) (n int) {
		for i := range set {
			if set[i].owner == who {
				n++
			}
		}
		if who == owner {
			n++ // with the new one
		}
		return n
	}
	for i := range set {
		if n, most := has(set[i].owner), has(oldest.owner); n > most || n == most && set[i].until < oldest.until {
			oldest = &set[i]
		}
	}
	return oldest
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
