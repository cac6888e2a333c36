package publish

import (
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// zoneState is what the publisher knows about one zone. Guarded by Publisher.mu.
type zoneState struct {
	id          fsm.ZoneID
	incarnation uint64          // of the zone in the state machine
	conf        *fsm.ZoneConfig // wanted
	confIndex   uint64          // log index at which conf was seen
	deleted     bool            // named is to forget it

	// What named has. heldBy is the incarnation of named that has the zone, 0: none.
	heldBy          uint64
	heldIncarnation uint64
	heldConf        *fsm.ZoneConfig
	reload          bool // its content there is not trusted

	// serving: named has the zone, verified when it was loaded, and every step since was one of ours.
	serving bool
	// epoch counts the ends of serving: a ticket of an older one is void.
	epoch uint64
	// Steps not yet acknowledged by named, oldest first, and what is known about each.
	queue      []fsm.Boundary
	waiting    []waiting
	queueBytes int
	// missing is the oldest change that named lacks and that is not in the queue any more, since 0: none. excused and overrun:
	// see oldest and boundary.
	missing   waiting
	excused   bool
	overrun   bool
	published uint64 // log index up to which every boundary is in named
	serial    uint32 // what named has
	// pendingSince is the log index of the oldest change that no boundary covers yet, 0: none.
	pendingSince uint64

	busy     bool           // a worker has it
	queued   bool           // in a run queue, or a timer puts it there
	notYet   time.Time      // no attempt before this, after a failure
	failures int            // in a row
	lastErr  error          // of the last attempt
	deaths   map[uint32]int // by a step's To: how often named ended with it in flight
	inFlight []fsm.Boundary // sent, and nothing is known yet about what became of them
	doubt    bool           // an UPDATE stayed without an answer and may still be carried out
	trail    *trail         // a verification under way

	changed  chan struct{} // closed at the next change; nil while nobody waits
	observer Observer
}

// waiting is what is known about a queued step.
type waiting struct {
	// since is the log index of the oldest change in the step: a step may be cut by a later entry than the one that made
	// the change, and it is the change that readers wait for.
	since   uint64
	arrived time.Time
}

// trail collects the steps that arrive while a zone transfer runs.
type trail struct {
	after uint64
	steps []fsm.Boundary
}

// notify wakes those who wait for a change of the zone.
func (z *zoneState) notify() {
	if z.changed != nil {
		close(z.changed)
		z.changed = nil
	}
}

// wait returns a channel that is closed at the zone's next change.
func (z *zoneState) wait() <-chan struct{} {
	if z.changed == nil {
		z.changed = make(chan struct{})
	}
	return z.changed
}

// stopServing gates reads and voids all tickets.
func (z *zoneState) stopServing() {
	if z.serving {
		z.serving = false
		z.epoch++
		z.observer.Gone(z.id)
		z.notify()
	}
}

// clearQueue forgets the steps, not that named lacks them.
func (z *zoneState) clearQueue() {
	if len(z.waiting) > 0 {
		z.lacks(z.waiting[0].since, z.waiting[0].arrived)
	}
	z.queue, z.waiting, z.queueBytes = nil, nil, 0
}

// enqueue adds a step whose oldest change has the log index since.
func (z *zoneState) enqueue(b fsm.Boundary, since uint64, now time.Time) {
	z.queue = append(z.queue, b)
	z.waiting = append(z.waiting, waiting{since, now})
	z.queueBytes += size(b.Zone.Name, b.Diff)
}

// done removes the first n steps: named has acknowledged them.
func (z *zoneState) done(n int) {
	for _, b := range z.queue[:n] {
		z.queueBytes -= size(b.Zone.Name, b.Diff)
		z.published, z.serial = b.Index, b.To
		delete(z.deaths, b.To) // it was another step's fault, or nobody's
	}
	z.queue, z.waiting = z.queue[n:], z.waiting[n:]
	if len(z.queue) == 0 {
		z.clearQueue()
	}
	z.observer.Served(z.id, z.serial)
	z.doubt = false // the guard of whatever is still under way can't hold any more
	z.notify()
}

// drop removes the steps that a view covers.
func (z *zoneState) drop(upTo uint64) {
	n := 0
	for n < len(z.queue) && z.queue[n].Index <= upTo {
		n++
	}
	for _, b := range z.queue[:n] {
		z.queueBytes -= size(b.Zone.Name, b.Diff)
	}
	z.queue, z.waiting = z.queue[n:], z.waiting[n:]
}

// died notes that named ended: whatever was in flight may be why.
func (z *zoneState) died() {
	if z.deaths == nil {
		z.deaths = map[uint32]int{}
	}
	for _, b := range z.inFlight {
		z.deaths[b.To]++
	}
	z.inFlight = nil
}

// covers reports whether named has everything of this zone up to a log index.
func (z *zoneState) covers(index uint64) bool {
	return z.serving && (len(z.queue) == 0 || z.waiting[0].since > index) &&
		(z.pendingSince == 0 || z.pendingSince > index) && (z.heldConf == z.conf || z.confIndex > index)
}

func (z *zoneState) name() zone.Name { return z.id.Name }
