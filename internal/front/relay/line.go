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
	used      map[uint16]slot
	lingering []linger // in the order of their end

	seconds prometheus.Observer
	to      *upstream // its socket; nil in tests
}

// slot is what an ID stands for: an attempt of a request, or nothing any more. An ID whose answer never came is kept out of use
// for some time, so that a late answer does not meet another client's request.
type slot struct {
	e     *entry
	i     int
	until time.Time // when e is nil
}

type linger struct {
	id    uint16
	until time.Time
}

const (
	allIDs = 1 << 16
	// lingerTime is longer than a primary works on anything that it answers.
	lingerTime = 10 * time.Second
)

// newLine has that many IDs, all free, in an order that nobody can guess.
func newLine(name string, tier uint8, ids int, seconds prometheus.Observer, rng *rand.Rand) *line {
	l := &line{name: name, tier: tier, seconds: seconds, free: make([]uint16, ids), used: map[uint16]slot{}}
	for i := range l.free {
		l.free[i] = uint16(i)
	}
	rng.Shuffle(ids, func(i, j int) { l.free[i], l.free[j] = l.free[j], l.free[i] })
	return l
}

// load is how many IDs are in use: what waits, and what never came. A primary that is silent is soon chosen no more.
func (l *line) load() int { return len(l.used) }

// room reports whether there is an ID left.
func (l *line) room(now time.Time) bool {
	if len(l.used) < len(l.free) {
		return true
	}
	l.collect(now)
	return len(l.used) < len(l.free)
}

// collect takes back the IDs that have lingered.
func (l *line) collect(now time.Time) {
	n := 0
	for _, g := range l.lingering {
		if g.until.After(now) {
			break
		}
		n++
		if s := l.used[g.id]; s.e == nil && s.until.Equal(g.until) {
			l.release(g.id)
		}
	}
	l.lingering = l.lingering[n:]
	if len(l.lingering) == 0 {
		l.lingering = nil
	}
}

// assign gives an ID to an attempt; there is room.
func (l *line) assign(now time.Time, e *entry, i int) uint16 {
	l.collect(now)
	id := l.free[l.head]
	l.head = (l.head + 1) % len(l.free)
	l.used[id] = slot{e: e, i: i}
	l.live++
	return id
}

// release makes an ID free.
func (l *line) release(id uint16) {
	tail := (l.head + len(l.free) - len(l.used)) % len(l.free)
	l.free[tail] = id
	delete(l.used, id)
}

// forsake ends an attempt whose answer has not come.
func (l *line) forsake(now time.Time, id uint16) {
	until := now.Add(lingerTime)
	l.used[id] = slot{until: until}
	l.lingering = append(l.lingering, linger{id, until})
	l.live--
}
