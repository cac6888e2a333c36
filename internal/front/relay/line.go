package relay

import (
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// line is a worker's way to one primary: the message IDs of one connected socket.
type line struct {
	name string
	tier uint8
	// shunned is until when others of its tier are preferred: it has refused.
	shunned time.Time
	// live is how many requests, of those that wait, it still owes an answer.
	live int

	free      []uint16 // a ring: an ID that was given back is used again last
	head      int
	slots     []slot
	inUse     int
	lingering []linger // in the order of their end

	seconds prometheus.Observer
	to      *upstream // its socket; nil in tests
}

// slot is what an ID stands for: an attempt of a request, or nothing any more. An ID whose answer never came is kept out of use
// for some time, so that a late answer does not meet another client's request.
type slot struct {
	e    *entry
	turn uint32 // counts what the ID was given to
	i    uint8
	used bool
}

type linger struct {
	id    uint16
	turn  uint32
	until time.Time
}

const (
	allIDs = 1 << 16
	// lingerTime is longer than a primary works on anything that it answers.
	lingerTime = 10 * time.Second
)

// newLine has that many IDs, all free, in an order that nobody can guess.
func newLine(name string, tier uint8, ids int, seconds prometheus.Observer, rng *rand.Rand) *line {
	l := &line{name: name, tier: tier, seconds: seconds, free: make([]uint16, ids), slots: make([]slot, ids)}
	for i := range l.free {
		l.free[i] = uint16(i)
	}
	rng.Shuffle(ids, func(i, j int) { l.free[i], l.free[j] = l.free[j], l.free[i] })
	return l
}

// slot is what an ID stands for.
func (l *line) slot(id uint16) slot {
	if int(id) >= len(l.slots) {
		return slot{}
	}
	return l.slots[id]
}

// load is how many IDs are in use: what waits, and what never came. A primary that is silent is soon chosen no more.
func (l *line) load() int { return l.inUse }

// room reports whether there is an ID left.
func (l *line) room(now time.Time) bool {
	if l.inUse < len(l.free) {
		return true
	}
	l.collect(now)
	return l.inUse < len(l.free)
}

// collect takes back the IDs that have lingered.
func (l *line) collect(now time.Time) {
	n := 0
	for _, g := range l.lingering {
		if g.until.After(now) {
			break
		}
		n++
		if s := &l.slots[g.id]; s.used && s.e == nil && s.turn == g.turn {
			l.release(g.id)
		}
	}
	if l.lingering = l.lingering[n:]; len(l.lingering) == 0 {
		l.lingering = nil
	}
}

// assign gives an ID to an attempt; there is room.
func (l *line) assign(now time.Time, e *entry, i int) uint16 {
	l.collect(now)
	id := l.free[l.head]
	if l.head++; l.head == len(l.free) {
		l.head = 0
	}
	s := &l.slots[id]
	s.e, s.i, s.used = e, uint8(i), true
	s.turn++
	l.inUse++
	l.live++
	return id
}

// release makes an ID free.
func (l *line) release(id uint16) {
	tail := l.head - l.inUse
	if tail < 0 {
		tail += len(l.free)
	}
	l.free[tail] = id
	l.slots[id].e, l.slots[id].used = nil, false
	l.inUse--
}

// forsake ends an attempt whose answer has not come.
func (l *line) forsake(now time.Time, id uint16) {
	s := &l.slots[id]
	s.e = nil
	l.lingering = append(l.lingering, linger{id, s.turn, now.Add(lingerTime)})
	l.live--
}
