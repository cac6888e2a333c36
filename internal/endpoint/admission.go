package endpoint

import (
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// admission decides which update is proposed next. Each key has a lane; lanes
// with waiting updates take turns, so that a key that floods fills its own lane
// and everyone else waits for one turn at most. Within a lane the order of
// arrival is kept.
//
// At most window updates are proposed and not answered: enough to fill the
// batches of the log, few enough that the queue behind them, which knows no
// keys, stays short.
type admission struct {
	window, maxQueued, maxPerKey int

	propose func(*request) // hands the request to the Writer
	expire  func(*request) // answers a request that waited too long

	mu       sync.Mutex
	lanes    map[zone.Name]*lane
	turn     []*lane // lanes with waiting requests, in the order of their turns
	inFlight int
	queued   int
	pumping  bool // one goroutine at a time proposes, which keeps the order
}

// lane holds the updates of one key; unsigned ones share the lane "".
type lane struct {
	waiting  []*request // first in, first out, from head on
	head     int
	inFlight int
}

func (l *lane) queued() int { return len(l.waiting) - l.head }

func (l *lane) pop() *request {
	r := l.waiting[l.head]
	l.waiting[l.head] = nil
	if l.head++; l.head == len(l.waiting) {
		l.waiting, l.head = l.waiting[:0], 0
	}
	return r
}

// submit queues an update, or reports false when its key or everyone together
// has too many.
func (a *admission) submit(key zone.Name, r *request) bool {
	a.mu.Lock()
	l := a.lanes[key]
	if l == nil {
		l = new(lane)
		a.lanes[key] = l // at most one for each key of the cluster: signers are verified
	}
	if a.queued >= a.maxQueued || l.queued()+l.inFlight >= a.maxPerKey {
		a.mu.Unlock()
		return false
	}
	r.lane = l
	if l.queued() == 0 {
		a.turn = append(a.turn, l)
	}
	l.waiting = append(l.waiting, r)
	a.queued++
	a.pump()
	return true
}

// done frees the place of a proposed update.
func (a *admission) done(l *lane) {
	a.mu.Lock()
	a.inFlight--
	l.inFlight--
	a.pump()
}

// pump proposes while there is room. It is called with a.mu held and returns
// without it.
func (a *admission) pump() {
	if a.pumping {
		a.mu.Unlock()
		return
	}
	a.pumping = true
	for a.inFlight < a.window && len(a.turn) > 0 {
		r := a.next()
		a.inFlight++
		r.lane.inFlight++
		a.mu.Unlock()
		a.propose(r) // may call done, which finds pumping set
		a.mu.Lock()
	}
	a.pumping = false
	a.mu.Unlock()
}

// next takes the first request of the lane whose turn it is.
func (a *admission) next() *request {
	l := a.turn[0]
	a.turn = a.turn[:copy(a.turn, a.turn[1:])]
	r := l.pop()
	a.queued--
	if l.queued() > 0 {
		a.turn = append(a.turn, l)
	}
	return r
}

// sweep answers the requests that arrived before the given time and still wait.
func (a *admission) sweep(before time.Time) {
	var late []*request
	a.mu.Lock()
	for i := 0; i < len(a.turn); {
		l := a.turn[i]
		for l.queued() > 0 && l.waiting[l.head].received.Before(before) {
			late = append(late, l.pop())
			a.queued--
		}
		if l.queued() == 0 {
			a.turn = append(a.turn[:i], a.turn[i+1:]...)
		} else {
			i++
		}
	}
	a.mu.Unlock()
	for _, r := range late {
		a.expire(r)
	}
}

// load returns how many updates are proposed and how many wait.
func (a *admission) load() (inFlight, queued int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inFlight, a.queued
}
