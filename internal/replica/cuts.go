package replica

import (
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// cutList remembers which zones have changes that are not yet in a publish boundary. Mostly a following entry cuts them;
// the last change of a burst needs a Cut command. The replica that made the change proposes it, or, if that one died,
// another replica a little later. A zone stays listed until its boundary is seen, so no cut is lost with a failed append.
type cutList struct {
	zones map[fsm.ZoneID]*pendingCut
	own   cutQueue // zones whose last change came from this replica
	other cutQueue
}

// pendingCut is one zone with changes that no boundary covers.
type pendingCut struct {
	id    fsm.ZoneID
	since time.Time
	own   bool
	asked bool // a Cut is on its way into the log
}

// cutQueue has zones in the order in which their cuts fall due. An element that no longer describes its zone is skipped.
type cutQueue struct {
	after time.Duration
	list  []cutDue
}

type cutDue struct {
	cut   *pendingCut
	since time.Time
}

func newCutList(ownAfter, otherAfter time.Duration) cutList {
	return cutList{
		zones: make(map[fsm.ZoneID]*pendingCut),
		own:   cutQueue{after: ownAfter}, other: cutQueue{after: otherAfter},
	}
}

func (l *cutList) clear() {
	clear(l.zones)
	l.own.list, l.other.list = nil, nil
}

// note lists a zone that has changes. The time runs from the first change, or from when it passed to another proposer.
func (l *cutList) note(now time.Time, id fsm.ZoneID, own bool) {
	c := l.zones[id]
	switch {
	case c == nil:
		c = &pendingCut{id: id}
		l.zones[id] = c
	case c.asked || c.own == own:
		return
	}
	c.own = own
	l.push(now, c)
}

func (l *cutList) push(now time.Time, c *pendingCut) {
	c.since = now
	q := &l.other
	if c.own {
		q = &l.own
	}
	q.list = append(q.list, cutDue{c, now})
}

// done takes a zone off: its changes are in a boundary, or it is gone.
func (l *cutList) done(id fsm.ZoneID) { delete(l.zones, id) }

// again lists a zone anew whose Cut did not get into the log.
func (l *cutList) again(now time.Time, c *pendingCut) {
	if l.zones[c.id] == c {
		c.asked = false
		l.push(now, c)
	}
}

// due takes the next zone whose cut is due, nil when there is none.
func (l *cutList) due(now time.Time) *pendingCut {
	for _, q := range []*cutQueue{&l.own, &l.other} {
		if c := q.head(l); c != nil && !now.Before(c.since.Add(q.after)) {
			c.asked = true
			return c
		}
	}
	return nil
}

// next is when a cut falls due; false when none is pending.
func (l *cutList) next() (time.Time, bool) {
	var at earliest
	for _, q := range []*cutQueue{&l.own, &l.other} {
		if c := q.head(l); c != nil {
			at.note(c.since.Add(q.after))
		}
	}
	return at.time, at.ok
}

// head drops what is settled from the front of the queue and gives the first zone that still waits.
func (q *cutQueue) head(l *cutList) *pendingCut {
	for len(q.list) > 0 {
		d := q.list[0]
		mine := &l.other
		if d.cut.own {
			mine = &l.own
		}
		if mine == q && !d.cut.asked && d.cut.since.Equal(d.since) && l.zones[d.cut.id] == d.cut {
			return d.cut
		}
		q.list[0] = cutDue{}
		q.list = q.list[1:]
	}
	q.list = nil
	return nil
}

// earliest finds the earliest of some times.
type earliest struct {
	time time.Time
	ok   bool
}

func (e *earliest) note(t time.Time) {
	if !e.ok || t.Before(e.time) {
		e.time, e.ok = t, true
	}
}

// noteCuts keeps the list of zones to cut up to date with an entry.
func (c *core) noteCuts(own bool, eff fsm.Effects) {
	for _, b := range eff.Boundaries {
		c.cuts.done(b.Zone)
	}
	for _, z := range eff.Zones {
		if z.Kind == fsm.ZoneDeleted {
			c.cuts.done(z.Zone)
		}
	}
	for _, id := range eff.Pending {
		c.cuts.note(c.now, id, own)
	}
}

// cutDue proposes the cuts that are due.
func (c *core) cutDue() {
	if c.halt != nil {
		return // nobody can tell which of the replicas is right: nothing is to be published
	}
	for cut := c.cuts.due(c.now); cut != nil; cut = c.cuts.due(c.now) {
		c.proposeCut(cut)
	}
}

// wantsCut says that an entry is to end with the boundary of all that it changes, because [Replica.CutEach] asks for it.
func (c *core) wantsCut(props []*proposal) bool {
	return c.cutEach && slices.ContainsFunc(props, func(p *proposal) bool { return !p.internal && p.cmd.Kind() != fsm.KindActivate })
}

// cut proposes the boundary of a zone's pending changes now, for a reader who waits.
func (c *core) cut(now time.Time, id fsm.ZoneID) {
	cut := c.cuts.zones[id]
	if cut == nil || cut.asked || c.halt != nil {
		return
	}
	cut.asked = true
	c.now = now
	c.proposeCut(cut)
	c.flush(now)
}

func (c *core) proposeCut(cut *pendingCut) {
	c.internal(&fsm.Cut{Zone: cut.id}, func(err error) {
		switch {
		case err != nil:
			c.cuts.again(c.now, cut)
		case c.cuts.zones[cut.id] == cut:
			c.cuts.done(cut.id) // also when there was nothing left to cut
		}
	})
}
